"""Kill runs. Run by soak.sh, which builds the program."""

import argparse
import collections
import os
import random
import subprocess
import sys
import threading
import time

LIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "live")
sys.path[:0] = [LIVE, os.path.join(LIVE, "faults")]

import servers  # noqa: E402
from daemon import Sluice, queue_config  # noqa: E402
from orders import account, make_table, push  # noqa: E402
from steps import PHASES, Steps, killed_itself  # noqa: E402

BAD_EVERY = 200
ROUND_KILLS = 100  # then everything drains and is audited
CHUNK = 500
STEP_SECONDS = 0.3  # a step that does not come meanwhile is given up
RANDOM, MISSED = "at a random moment", "at a random moment, as a step did not come"


class Producer(threading.Thread):
    """Keeps some thousand orders waiting, so that every kill meets a busy daemon; counts what Redis has acknowledged. A context manager."""

    def __init__(self, client, first, waiting):
        super().__init__(daemon=True)
        self.client = client
        self.next = first
        self.waiting = waiting
        self.stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exception):
        self.stopping.set()
        self.join()

    def run(self):
        while not self.stopping.is_set():
            if self.client.llen("orders") < self.waiting:
                push(self.client, "orders", range(self.next, self.next + CHUNK), bad_every=BAD_EVERY)
                self.next += CHUNK
            else:
                time.sleep(0.002)


class Soak:
    """The run on one database, and what came of it. `kills` counts RANDOM, MISSED and each step."""

    def __init__(self, options, db, redis_server, steps):
        self.options = options
        self.db = db
        self.client = redis_server.client()
        self.steps = steps
        self.dice = random.Random(options.seed)
        config = queue_config(redis_server, db, queue={"mode": options.mode}, pool_size=4)
        self.daemon = Sluice(program(options), servers.workspace(), config, f"soak-{db.driver}")
        self.version = db.value("SELECT version()").partition(" on ")[0]
        self.kills = collections.Counter()
        self.next = 1  # number of the next order
        self.rows = self.dead = self.lost = self.twice = 0
        self.seconds = 0.0

    def run(self):
        """Whether all went well."""
        make_table(self.db)
        begin = time.monotonic()
        found = self.find_steps() if self.steps else {}
        while self.kills.total() < self.options.kills:
            with Producer(self.client, self.next, self.options.orders) as producer:
                for _ in range(min(ROUND_KILLS, self.options.kills - self.kills.total())):
                    self.kills[self.kill(found)] += 1
            self.audit(range(self.next, producer.next))
            self.next = producer.next
            self.seconds = time.monotonic() - begin
            print(f"  {self.db.driver:11} {self.kills.total():>6} kills ({self.at_steps()} at a step)  {self.rows + self.dead:>9,} orders  "
                  f"{self.rows:>9,} rows  {self.dead:>6,} dead letters  lost {self.lost}  twice {self.twice}  {self.seconds:,.0f} s", flush=True)
        return self.lost == 0 and self.twice == 0

    def at_steps(self):
        return self.kills.total() - self.kills[RANDOM] - self.kills[MISSED]

    def find_steps(self):
        """{step: how often it comes}, by looking on without killing at one of them."""
        seen = collections.Counter()
        with Producer(self.client, self.next, self.options.orders) as producer:
            for _ in range(5):
                self.steps.watch(self.daemon)
                time.sleep(STEP_SECONDS)
                self.daemon.kill()
                seen |= self.steps.seen()
        self.audit(range(self.next, producer.next))
        self.next = producer.next
        return seen

    def kill(self, found):
        """Once, half of the times at a step if there are any; returns which sort of kill it was."""
        if not found or self.dice.random() < 0.5:
            self.daemon.start(wait=False)
            time.sleep(self.dice.uniform(0.005, 0.25))
            self.daemon.kill()
            return RANDOM
        step = self.dice.choice(sorted(found))
        self.steps.start_to_die(self.daemon, step, self.dice.randint(1, min(4, found[step])))
        came = killed_itself(self.daemon, STEP_SECONDS)
        self.daemon.kill()
        return step if came else MISSED

    def audit(self, pushed):
        """Drains, counts by SQL, and begins with an empty table."""
        self.daemon.start()
        servers.wait_until(lambda: self.client.llen("orders") == 0, 120, "the empty queue")
        self.daemon.stop()
        found = account(self.client, self.db, pushed)
        self.rows, self.dead = self.rows + found.rows, self.dead + found.dead
        self.lost, self.twice = self.lost + len(found.lost), self.twice + len(found.twice) + len(found.strange)
        if found.lost or found.twice or found.strange:
            print(f"lost {found.lost[:20]}, twice {found.twice[:20]}, never pushed {found.strange[:20]}\n{self.daemon.log[-20000:]}", flush=True)
        self.db.execute("TRUNCATE TABLE orders")
        self.client.delete("{orders}:dead")


# -- the report

def row(*cells):
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def step_table(kills):
    """Kills by step, a row for each label."""
    labels = sorted({step.rpartition(":")[0] for step in kills if step not in (RANDOM, MISSED)})
    lines = [row("step", *PHASES), row("---", *("---:" for _ in PHASES))]
    return lines + [row(label, *(kills[f"{label}:{phase}"] for phase in PHASES)) for label in labels]


def report(options, redis_server, soaks):
    """A section of markdown."""
    command = f"tests/soak.sh --kills {options.kills} --orders {options.orders} --seed {options.seed}"
    command += (f" --only {options.only}" if options.only else "") + ("" if options.steps else " --no-steps")
    command += f" --mode {options.mode}" if options.mode != "insert" else ""
    version = subprocess.run([program(options), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    system = os.uname()
    lines = [f"## Kill run of {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC", "", f"`{command}`", "",
             f"{version}; Redis {redis_server.client().info('server')['redis_version']}; {system.sysname} {system.release} {system.machine}, "
             f"{os.cpu_count()} cores; seed {options.seed}", "",
             row("", *(soak.version for soak in soaks)), row("---", *("---:" for _ in soaks))]
    figures = {
        "kills": lambda soak: soak.kills.total(), "of them at a step": Soak.at_steps, RANDOM: lambda soak: soak.kills[RANDOM],
        MISSED: lambda soak: soak.kills[MISSED], "orders": lambda soak: soak.next - 1, "rows": lambda soak: soak.rows,
        "dead letters": lambda soak: soak.dead, "lost": lambda soak: soak.lost, "twice": lambda soak: soak.twice,
        "seconds": lambda soak: round(soak.seconds),
    }
    lines += [row(name, *(f"{figure(soak):,}" for soak in soaks)) for name, figure in figures.items()]
    for soak in soaks:
        if soak.at_steps() > 0:
            lines += ["", f"Kills by step, {soak.version}:", ""] + step_table(soak.kills)
    return "\n".join(lines) + "\n\n"


def program(options):
    return os.path.join(options.build, "src", "sluice")


def arguments():
    parser = argparse.ArgumentParser(prog="tests/soak.sh", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="for each database (default 100)")
    parser.add_argument("--orders", type=int, default=20_000, help="kept waiting (default 20000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["postgresql", "mysql"])
    parser.add_argument("--mode", choices=["insert", "ignore"], default="insert",
                        help="ignore: other statements; nothing is ignored, as the table has no unique index (default insert)")
    parser.add_argument("--steps", action=argparse.BooleanOptionalAction, default=True,
                        help="half of the kills before, in the middle of or after what is sent, or when an answer comes (default; needs cc)")
    parser.add_argument("--report", metavar="FILE", help="to which a section is appended")
    parser.add_argument("--build", required=True)
    return parser.parse_args()


def main():
    options = arguments()
    servers.end_in_order()
    redis_server = servers.Redis().start()
    steps = Steps(servers.workspace()) if options.steps else None
    if steps is not None and steps.library is None:
        print("  no C compiler: every kill comes at a random moment")
        steps, options.steps = None, False
    well, soaks = True, []
    for kind in (servers.PostgreSQL, servers.MariaDB):
        db = kind()
        if options.only in (None, db.driver):
            db.start()
            soaks.append(Soak(options, db, redis_server, steps))
            well = soaks[-1].run() and well
            redis_server.flush()
        db.stop()
    if options.report:
        with open(options.report, "a", encoding="utf-8") as file:
            file.write(report(options, redis_server, soaks))
    print(f"seed {options.seed}: {'0 lost, 0 twice' if well else 'FAILED'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

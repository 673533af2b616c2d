"""The demo: a burst from thousands of short-lived clients drains into PostgreSQL and MariaDB through a fixed pool; SQL says whether all came.

Run by contrib/demo.sh, which builds the programs.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "live"))

import servers  # noqa: E402
from daemon import Sluice  # noqa: E402
from direct import HOLD_SECONDS, run_direct  # noqa: E402
from orders import account  # noqa: E402

POOL_SIZE = 10
MAX_CONNECTIONS = 100
ORDERS_PER_CLIENT = 50
BAD_EVERY = 100
STALLED_SECONDS = 120  # a backlog that does not move for so long is a failure

INI_HEAD = """;;; sluice.ini of the demo: two databases, a queue for each.
[sluice]
instance = demo

[redis]
url = unix://{redis}

[stats]
listen = {listen}
admin_socket = {admin_socket}
"""

INI_DATABASE = """
[database {name}]
driver = {driver}
host = {host}
dbname = {dbname}
user = {user}
pool_size = {pool_size}          ; never more connections than these, whatever the burst

[queue orders_{name}]
source = list:orders_{name}      ; producers: LPUSH orders_{name} '{{"id": 1, ...}}'
database = {name}
table = orders                   ; a JSON key goes to the column of its name
"""

TABLES = {
    "postgresql": """CREATE TABLE orders (id bigint NOT NULL, customer text NOT NULL, total numeric(12,2) NOT NULL, placed_at timestamptz,
        note varchar(40), quantity int NOT NULL DEFAULT 1, paid boolean NOT NULL DEFAULT false, items jsonb)""",
    "mysql": """CREATE TABLE orders (id bigint NOT NULL, customer varchar(80) NOT NULL, total decimal(12,2) NOT NULL, placed_at datetime(3),
        note varchar(40), quantity int NOT NULL DEFAULT 1, paid boolean NOT NULL DEFAULT false, items json) ENGINE=InnoDB""",
}


class Target:
    """A database of the demo with its queue and what was seen of it."""

    def __init__(self, name, server):
        self.name = name
        self.server = server
        self.queue = f"orders_{name}"
        self.sampler = servers.Sampler(server)
        self.seconds = 0.0  # from the first push to the empty queue
        # No unique index, on purpose: an order that came twice shall be seen, not refused.
        server.user_execute(TABLES[server.driver])


class Line:
    """The live line: redrawn in place on a terminal, else a line now and then."""

    BAR = 24

    def __init__(self):
        self.terminal = sys.stdout.isatty()
        self.every = 0.1 if self.terminal else 1.0
        self.last = 0.0

    def show(self, pushed, waiting, total, rate, connections):
        if time.monotonic() - self.last < self.every:
            return
        self.last = time.monotonic()
        done = (pushed - waiting) * self.BAR // total
        pending = max(pushed * self.BAR // total - done, 0)
        bar = "#" * done + "+" * pending + "." * (self.BAR - done - pending)
        text = f"[{bar}] pushed {pushed:>9,}  waiting {waiting:>9,}  {rate:>7,.0f} rows/s  connections {connections}"
        print("\r\033[K" + text if self.terminal else text, end="" if self.terminal else "\n", flush=True)

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", flush=True)


class Burst:
    """The client program, and how many orders Redis has confirmed to it so far."""

    def __init__(self, program, redis_server, orders, queues):
        command = [program, "-s", redis_server.socket, "-n", str(orders), "-c", str(ORDERS_PER_CLIENT), "-b", str(BAD_EVERY), *queues]
        self.pushed = 0
        self.process = subprocess.Popen(servers.dying_with_us(command), stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def ended(self):
        return not self.thread.is_alive()

    def _read(self):
        for line in self.process.stdout:
            self.pushed = int(line.split()[1])
        self.process.wait()


def write_config(daemon, redis_server, targets):
    text = INI_HEAD.format(redis=redis_server.socket, **daemon.config["stats"])
    for target in targets:
        text += INI_DATABASE.format(name=target.name, **target.server.section(pool_size=POOL_SIZE))
    with open(daemon.config_path, "w", encoding="utf-8") as file:
        file.write(text)


def drain(burst, daemon, client, targets, orders):
    """Watches until the burst has ended and the queues are empty."""
    line = Line()
    begin = moved = time.monotonic()
    total, before = orders * len(targets), -1
    marks = [(begin, 0)]  # of the last seconds, for the rate
    while True:
        ended = burst.ended()  # before the backlog is read, or an order pushed between the two is missed
        lengths = {target: client.llen(target.queue) for target in targets}
        now, waiting = time.monotonic(), sum(lengths.values())
        for target, length in lengths.items():
            if ended and length == 0 and target.seconds == 0:
                target.seconds = now - begin
        if ended and waiting == 0:
            line.end()
            return
        gone = max(burst.pushed - waiting, 0)
        moved = now if gone != before else moved
        before = gone
        if not daemon.running() or now - moved > STALLED_SECONDS:
            raise SystemExit(f"sluice {'stands still' if daemon.running() else 'has ended'}:\n{daemon.log[-3000:]}")
        marks = [mark for mark in marks if now - mark[0] < 2 or mark is marks[-1]] + [(now, gone)]
        rate = (gone - marks[0][1]) / max(now - marks[0][0], 0.001)
        line.show(burst.pushed, waiting, total, rate, "  ".join(f"{target.name} {target.sampler.now}/{POOL_SIZE}" for target in targets))
        time.sleep(0.02)


def print_table(columns, rows):
    print(f"  {'':24}" + "".join(f"{column:>14}" for column in columns))
    for label, cells in rows:
        print(f"  {label:24}" + "".join(f"{cell:>14,}" if isinstance(cell, int) else f"{cell:>14}" for cell in cells))


def report(client, targets, orders):
    """Prints where the orders are; true when every one is there once and no pool was exceeded."""
    found = [account(client, target.server, range(1, orders + 1), key=target.queue) for target in targets]
    print("\nThrough sluice, counted by SQL and by the list of dead letters:")
    print_table([target.name for target in targets], [
        ("pushed", [orders] * len(targets)),
        ("rows", [one.rows for one in found]),
        ("dead letters", [client.llen("{%s}:dead" % target.queue) for target in targets]),
        ("lost", [len(one.lost) for one in found]),
        ("twice", [len(one.twice) for one in found]),
        ("most connections seen", [target.sampler.most for target in targets]),
        ("pool_size", [POOL_SIZE] * len(targets)),
        ("seconds to empty", [f"{target.seconds:.1f}" for target in targets]),
        ("orders/s", [int(orders / target.seconds) for target in targets]),
    ])
    return all(not one.lost and not one.twice and not one.strange for one in found) and \
        all(target.sampler.most <= POOL_SIZE for target in targets)


def report_direct(targets):
    """The same kind of clients without sluice: each order opens a SQL connection of its own."""
    clients, seconds = 3 * MAX_CONNECTIONS, 5
    print(f"\nWithout sluice, one SQL connection an order: {clients} clients at once for {seconds} s, each request {HOLD_SECONDS} s long, "
          f"max_connections = {MAX_CONNECTIONS}:", flush=True)
    found = [run_direct(target.server, clients, seconds) for target in targets]
    print_table([target.name for target in targets], [
        ("orders tried", [one.rows + one.refused for one in found]),
        ("rows", [one.rows for one in found]),
        ("refused", [one.refused for one in found]),
        ("most connections seen", [one.most for one in found]),
        ("orders/s", [one.rows // seconds for one in found]),
    ])
    for target, one in zip(targets, found):
        if one.refused:
            print(f"  {target.name}: {one.reason}")


def keep_running(redis_server, daemon, targets):
    print(f"""
Everything keeps running; Ctrl-C ends it.
  configuration   {daemon.config_path}
  log             {daemon.log_path}
  page            http://{daemon.config["stats"]["listen"]}/
  commands        {daemon.program} -c {daemon.config_path} show queues
  Redis           redis-cli -s {redis_server.socket}""")
    for target in targets:
        server = target.server
        client = f"psql -h {server.host} -U {server.user} {server.dbname}" if server.driver == "postgresql" else \
            f"mariadb --no-defaults -S {server.host} -u {server.user} {server.dbname}"
        print(f"  {target.name:15} {client}")
    sys.stdout.flush()
    while True:
        signal.pause()


def run(options):
    print("Starting private servers ...", flush=True)
    redis_server = servers.Redis(durable=True).start()
    client = redis_server.client()
    targets = []
    if options.only != "mysql":
        targets.append(Target("postgresql", servers.PostgreSQL(durable=True, max_connections=MAX_CONNECTIONS)))
    if options.only != "postgresql":
        targets.append(Target("mariadb", servers.MariaDB(durable=True, max_connections=MAX_CONNECTIONS)))
    daemon = Sluice(os.path.join(options.build, "src", "sluice"), servers.workspace(), {}, "demo")
    write_config(daemon, redis_server, targets)
    done = daemon.command("init")
    if done.returncode != 0:
        raise SystemExit(f"sluice init: {done.stdout}{done.stderr}")
    for target in targets:
        target.sampler.__enter__()
    daemon.start()
    clients = -(-options.orders // ORDERS_PER_CLIENT) * len(targets)
    print(f"{options.orders:,} orders for each database, one in {BAD_EVERY} of them bad, from {clients:,} clients with a Redis connection each:")
    burst = Burst(options.burst, redis_server, options.orders, [target.queue for target in targets])
    drain(burst, daemon, client, targets, options.orders)
    for target in targets:
        target.sampler.__exit__()
    if burst.process.returncode != 0:
        raise SystemExit("The burst failed.")
    well = report(client, targets, options.orders)
    report_direct(targets)
    print(f"\n{'Every order arrived exactly once, and no pool was exceeded.' if well else 'FAILED: see the table.'}", flush=True)
    if options.keep:
        keep_running(redis_server, daemon, targets)
    return daemon.end() and well


def main():
    parser = argparse.ArgumentParser(prog="contrib/demo.sh", description="A burst of orders through sluice, audited by SQL.")
    parser.add_argument("-n", dest="orders", type=int, default=200_000, help="orders for each database (default 200000)")
    parser.add_argument("--only", choices=["postgresql", "mysql"], help="one database only")
    parser.add_argument("--keep", action="store_true", help="keep everything running afterwards, to look around")
    parser.add_argument("--build", required=True, help="build directory")
    parser.add_argument("--burst", required=True, help="the compiled burst.c")
    options = parser.parse_args()
    if options.orders < 1:
        parser.error("-n takes a number above 0")
    servers.end_in_order()
    try:
        return 0 if run(options) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

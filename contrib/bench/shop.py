"""Where everything is measured: one Redis, one SQL server, one table. Fills the list, makes the table, counts by SQL what arrived."""

import dataclasses
import os
import subprocess
import time

import servers
import usage
from daemon import Sluice, ini_text, queue_config

LEDGER_ROWS = 4096
REPEAT_EVERY = 10  # ignore and upsert: each such order has the id of one before, see order.h
REPEAT_BACK = 10005
SQL_OPTIONS = {
    "postgresql": ["-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"],
    "mysql": ["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=1G"],
}
# Of the columns behind the usual ones, by turns; order.c writes what fits them.
MORE_TYPES = ("int", "varchar(40)", "numeric(12,2)", "boolean")


@dataclasses.dataclass(frozen=True)
class Load:
    """What is to be stored, and how."""

    rows: int = 500_000  # that the clock runs for
    waiting: int = 0     # orders in the list, if more than these
    mode: str = "insert"
    batch: int = 1000
    pool: int = 4
    columns: int = 8
    bytes: int = 0       # of an item, about; 0: as it comes, some 200
    bad_every: int = 0   # each such order is refused
    rest: int = 0        # seconds between the filling of the list and the clock's start

    @property
    def pushed(self):
        return max(self.rows, self.waiting)

    @property
    def repeats(self):
        """The numbers of the orders that come with the id of another."""
        if self.mode == "insert":
            return range(0)
        return range((REPEAT_BACK // REPEAT_EVERY + 1) * REPEAT_EVERY, self.pushed + 1, REPEAT_EVERY)

    @property
    def bad(self):
        return self.pushed // self.bad_every if self.bad_every else 0


def table_sql(driver, load):
    """The orders' table. The primary key is its one index."""
    text, moment, structure, end = ("text", "timestamptz", "jsonb", "") if driver == "postgresql" else \
        ("varchar(80)", "datetime(3)", "json", " ENGINE=InnoDB")
    note = "text" if load.bytes > 200 else "varchar(40)"
    more = "".join(f", c{c + 1} {MORE_TYPES[c % 4]}" for c in range(8, load.columns))
    return (f"CREATE TABLE orders (id bigint NOT NULL PRIMARY KEY, customer {text} NOT NULL, total numeric(12,2) NOT NULL, placed_at {moment}, "
            f"note {note}, quantity int, paid boolean NOT NULL DEFAULT false, items {structure}{more}){end}")


class Shop:
    """The servers of a run. `programs` is where the built programs are, `workers` where the Node workers are."""

    def __init__(self, redis_server, db, build, workers):
        self.redis_server = redis_server
        self.db = db
        self.build = build
        self.workers = workers
        self.client = redis_server.client()
        self._make_ledger()

    @property
    def driver(self):
        return self.db.driver

    def program(self, name):
        """A program of the benchmark."""
        return os.path.join(self.build, "contrib", "bench", name)

    def config(self, load, queue="orders"):
        """sluice.ini as {section: {key: value}}; another queue name, but the same list, is for the limit: its ledger rows are its own."""
        keys = {"batch_rows": load.batch, "batch_bytes": "16M", "mode": load.mode}
        if load.mode != "insert":
            keys["key"] = "id"
        if load.mode == "upsert":
            keys["newer"] = "placed_at"
        config = queue_config(self.redis_server, self.db, queue=keys, pool_size=load.pool)
        config[f"queue {queue}"] = config.pop("queue orders")
        return config

    def config_file(self, load, queue):
        path = os.path.join(servers.workspace(), f"{queue}.ini")
        with open(path, "w", encoding="utf-8") as file:
            file.write(ini_text(self.config(load, queue)))
        return path

    def daemon(self, load):
        """A daemon, not started."""
        return Sluice(os.path.join(self.build, "src", "sluice"), servers.workspace(), self.config(load), "bench")

    def prepare(self, load):
        """An empty Redis, an empty table, and nothing that a run before has left for the servers to do."""
        self.redis_server.flush()
        self.client.bgrewriteaof()
        servers.wait_until(lambda: not self.client.info("persistence")["aof_rewrite_in_progress"], 60, "the end of Redis's rewriting")
        self.db.execute("DROP TABLE IF EXISTS orders")
        self.db.user_execute(table_sql(self.driver, load))
        if self.driver == "postgresql":
            self.db.execute("CHECKPOINT")

    def push(self, load, first=1, orders=None):
        """Fills the list. What Redis has written for it is on the disk before a clock starts, or commits would wait for it."""
        subprocess.run([self.program("feeder"), "-s", self.redis_server.socket, "-n", str(orders or load.pushed), "-f", str(first),
                        "-c", str(load.columns), "-b", str(load.bytes), "-x", str(load.bad_every),
                        "-r", str(REPEAT_EVERY if load.repeats else 0)], check=True)
        os.sync()
        if orders is None:
            time.sleep(load.rest)

    def waiting(self):
        return self.client.llen("orders")

    def audit(self, load, popped=True):
        """Every order is a row, waits, or is a dead letter; and each is the right one. `popped`: the list was to be emptied."""
        waiting = self.waiting() if popped else 0
        rows, total = self.db.query("SELECT count(*), sum(id) FROM orders")[0]
        dead = self.client.llen("{orders}:dead")
        expected = load.pushed - len(load.repeats) - load.bad - waiting
        assert rows == expected and dead == load.bad, f"{rows} rows and {dead} dead letters instead of {expected} and {load.bad}"
        if waiting == 0 and load.bad == 0:
            wanted = load.pushed * (load.pushed + 1) // 2 - sum(load.repeats)
            assert total == wanted, f"the ids add up to {total} instead of {wanted}"

    def meter(self, **processes):
        """A running count of the CPU time of some processes, by name; Redis and the SQL server are always among them."""
        return Meter({**processes, "redis": self.redis_server.process.pid, "sql": self.db.process.pid})

    def _make_ledger(self):
        """sluice's own table, and the rows of the limit in it."""
        done = self.daemon(Load()).command("init")
        assert done.returncode == 0, done.stderr
        numbers = f"generate_series(0, {LEDGER_ROWS - 1}) AS n(seq)" if self.driver == "postgresql" else f"seq_0_to_{LEDGER_ROWS - 1}"
        self.db.execute(f"INSERT INTO sluice_ledger (queue, slot, items) SELECT 'limit', seq, '' FROM {numbers}")


class Meter:
    """CPU seconds and memory of some processes since it was made."""

    def __init__(self, pids):
        self.pids = pids
        self.begin = self._now()
        self.cpu = {}
        self.memory = {}

    def stop(self):
        self.cpu = {name: seconds - self.begin[name] for name, seconds in self._now().items()}
        self.memory = {name: usage.memory(pid) for name, pid in self.pids.items()}
        return self

    def _now(self):
        return {name: usage.cpu_seconds(pid) for name, pid in self.pids.items()}


def wait_for_length(shop, length, daemon, seconds=1800):
    """Until the list is as short as that; returns when it was, by the monotonic clock, to some 2 ms. Looks seldom while that is far off: each look
    costs a CPU as much as some ten rows, and the limit is not looked at."""
    begin, first = time.monotonic(), shop.waiting()
    waiting = first
    while waiting > length:
        assert daemon.running(), daemon.log[-3000:]
        now = time.monotonic()
        assert now < begin + seconds, f"the list is not drained within {seconds} s:\n{daemon.log[-3000:]}"
        left = (now - begin) * (waiting - length) / (first - waiting) if first > waiting else 0
        time.sleep(min(max(left / 3, 0.002), 0.1))
        waiting = shop.waiting()
    return time.monotonic()

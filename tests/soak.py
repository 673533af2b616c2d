"""Kill runs. Run by soak.sh, which builds the program."""

import argparse
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "live"))

import servers  # noqa: E402
from daemon import Sluice, queue_config  # noqa: E402
from orders import account, make_table, push  # noqa: E402

BAD_EVERY = 200
ROUND_KILLS = 100  # then everything drains and is audited
CHUNK = 500


class Producer(threading.Thread):
    """Keeps some thousand orders waiting, so that every kill meets a busy daemon; counts what Redis has acknowledged."""

    def __init__(self, client, first, waiting):
        super().__init__(daemon=True)
        self.client = client
        self.next = self.first = first
        self.waiting = waiting
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            if self.client.llen("orders") < self.waiting:
                push(self.client, "orders", range(self.next, self.next + CHUNK), bad_every=BAD_EVERY)
                self.next += CHUNK
            else:
                time.sleep(0.002)


def kill_round(daemon, client, kills, first, waiting, dice):
    """So many kills under load; returns the number behind the last order that was pushed."""
    producer = Producer(client, first, waiting)
    producer.start()
    for _ in range(kills):
        daemon.start(wait=False)
        time.sleep(dice.uniform(0.005, 0.25))
        daemon.kill()
    producer.stopping.set()
    producer.join()
    daemon.start()
    servers.wait_until(lambda: client.llen("orders") == 0, 120, "the empty queue")
    daemon.stop()
    return producer.next


def soak(options, db, redis_server):
    client, dice = redis_server.client(), random.Random(options.seed)
    make_table(db)
    daemon = Sluice(os.path.join(options.build, "src", "sluice"), servers.workspace(), queue_config(redis_server, db, pool_size=4), "soak")
    kills = lost = twice = rows = dead = 0
    begin, first = time.monotonic(), 1
    while kills < options.kills:
        now = min(ROUND_KILLS, options.kills - kills)
        behind = kill_round(daemon, client, now, first, options.orders, dice)
        found = account(client, db, range(first, behind))
        kills, rows, dead = kills + now, rows + found.rows, dead + found.dead
        lost, twice = lost + len(found.lost), twice + len(found.twice) + len(found.strange)
        print(f"  {db.driver:11} {kills:>6} kills  {rows + dead:>9,} orders  {rows:>9,} rows  {dead:>6,} dead letters  lost {lost}  twice {twice}  "
              f"{time.monotonic() - begin:,.0f} s", flush=True)
        first = behind
        db.execute("TRUNCATE TABLE orders")
        client.delete("{orders}:dead")
    return lost == 0 and twice == 0


def main():
    parser = argparse.ArgumentParser(prog="tests/soak.sh", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="for each database (default 100)")
    parser.add_argument("--orders", type=int, default=20_000, help="kept waiting (default 20000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["postgresql", "mysql"])
    parser.add_argument("--build", required=True)
    options = parser.parse_args()
    servers.end_in_order()
    redis_server = servers.Redis().start()
    well = True
    for kind in (servers.PostgreSQL, servers.MariaDB):
        db = kind()
        if options.only in (None, db.driver):
            db.start()
            well = soak(options, db, redis_server) and well
            db.stop()
            redis_server.flush()
    print(f"seed {options.seed}: {'0 lost, 0 twice' if well else 'FAILED'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

"""What crowds take from the drain. Run by flood.sh, which builds the program."""

import argparse
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "live"))

import servers  # noqa: E402
from daemon import Sluice, queue_config  # noqa: E402
from orders import make_table  # noqa: E402
from visitors import AdminCrowd, Drains, StatsCrowd  # noqa: E402


def measure(options, db, redis_server):
    """The median of pairs, without a crowd and with one: what is beside us on the machine meets both."""
    make_table(db)
    config = queue_config(redis_server, db, pool_size=options.pool)
    daemon = Sluice(os.path.join(options.build, "src", "sluice"), servers.workspace(), config, f"bench-{db.driver}").start()
    drains = Drains(daemon, redis_server.client(), options.rows)
    drains.drain()
    for name, kind in (("admin socket", AdminCrowd), ("stats port", StatsCrowd)):
        ratios, visits = [], 0
        for _ in range(options.rounds):
            alone = drains.drain()
            with kind(daemon) as crowd:
                ratios.append(alone / drains.drain())
            visits += crowd.visits
        print(f"{db.driver:11} {name:13} ratio {statistics.median(ratios):.2f}   best {max(ratios):.2f}   worst {min(ratios):.2f}   {visits:,} visits",
              flush=True)
    daemon.stop()


def main():
    parser = argparse.ArgumentParser(prog="contrib/bench/flood.sh", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--pool", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["postgresql", "mysql"])
    parser.add_argument("--build", required=True)
    options = parser.parse_args()
    servers.end_in_order()
    redis_server = servers.Redis().start()
    print(f"drains of {options.rows:,} orders beside a crowd, of the speed without it; {options.rounds} rounds, medians:", flush=True)
    for kind in (servers.PostgreSQL, servers.MariaDB):
        db = kind()
        if options.only in (None, db.driver):
            db.start()
            measure(options, db, redis_server)
            db.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

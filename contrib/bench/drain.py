"""Drain speed beside the limit. Run by drain.sh, which builds the programs."""

import argparse
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "live"))

import servers  # noqa: E402
from daemon import Sluice, queue_config  # noqa: E402
from orders import make_table, push  # noqa: E402


def fresh_table(db):
    db.execute("DROP TABLE IF EXISTS orders")
    make_table(db)


def count(db):
    return db.value("SELECT count(*) FROM orders")


def load(options, db):
    """Seconds of the loader."""
    fresh_table(db)
    out = subprocess.run([options.loader, db.driver, db.host, db.dbname, db.user, str(options.rows), str(options.batch), str(options.pool)],
                         check=True, capture_output=True, text=True)
    assert count(db) == options.rows
    return float(out.stdout)


def drain(options, db, redis_server, daemon):
    """Seconds from the daemon's resume to the empty list; it is connected and owns the queue already."""
    fresh_table(db)
    client = redis_server.client()
    daemon.start()
    push(client, "orders", range(1))  # the first order makes it read the table, as any daemon that has run for a while has done
    servers.wait_until(lambda: client.llen("orders") == 0, 30)
    daemon.signal(servers.signal.SIGUSR1)
    time.sleep(0.2)
    push(client, "orders", range(1, options.rows + 1))
    time.sleep(0.5)
    begin, cpu = time.monotonic(), daemon.cpu_seconds()
    daemon.signal(servers.signal.SIGUSR2)
    while client.llen("orders") > 0:
        time.sleep(0.005)
    seconds, cpu = time.monotonic() - begin, daemon.cpu_seconds() - cpu
    assert count(db) == options.rows + 1, count(db)
    memory = daemon.peak_memory()
    daemon.stop()
    return seconds, cpu, memory


def measure(options, db, redis_server):
    limits, drains, cpus, memory = [], [], [], 0
    daemon = Sluice(os.path.join(options.build, "src", "sluice"), servers.workspace(),
                    queue_config(redis_server, db, queue={"batch_rows": options.batch}, pool_size=options.pool), "bench")
    done = daemon.command("init")
    assert done.returncode == 0, done.stderr
    daemon.start()  # makes the ring that the loader writes too
    daemon.wait_ready()
    time.sleep(1)
    daemon.stop()
    for _ in range(options.rounds):
        db.execute("UPDATE sluice_ledger SET epoch = 0, count = 0, first = 0")
        redis_server.flush()
        limits.append(load(options, db))
        db.execute("UPDATE sluice_ledger SET epoch = 0, count = 0, first = 0")
        seconds, cpu, memory = drain(options, db, redis_server, daemon)
        drains.append(seconds)
        cpus.append(cpu)
        print(f"  {db.driver:11} limit {options.rows / limits[-1]:>9,.0f} rows/s   sluice {options.rows / drains[-1]:>9,.0f} rows/s", flush=True)
    limit, drained = statistics.median(limits), statistics.median(drains)
    print(f"{db.driver:13} ratio {limit / drained:.2f}   limit {options.rows / limit:,.0f} rows/s   sluice {options.rows / drained:,.0f} rows/s   "
          f"{statistics.median(cpus) / options.rows * 1e6:.2f} us of sluice's CPU a row   peak memory {memory / 1048576:.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="contrib/bench/drain.sh", description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--pool", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["postgresql", "mysql"])
    parser.add_argument("--build", required=True)
    parser.add_argument("--loader", required=True)
    options = parser.parse_args()
    servers.end_in_order()
    redis_server = servers.Redis(durable=True).start()
    print(f"{options.rows:,} orders of 8 columns, batches of {options.batch}, {options.pool} connections, {options.rounds} rounds, medians:", flush=True)
    for kind in (servers.PostgreSQL, servers.MariaDB):
        db = kind(durable=True)
        if options.only in (None, db.driver):
            db.start()
            measure(options, db, redis_server)
            db.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the cases of cases.py by turns and writes RESULTS.md and results.svg. Run by run.sh, which builds the programs."""

import argparse
import dataclasses
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "live"))

import chart  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
from cases import CASES  # noqa: E402
from contestants import Limit  # noqa: E402
from section import DRIVERS  # noqa: E402
from shop import SQL_OPTIONS, Shop  # noqa: E402

KINDS = (servers.PostgreSQL, servers.MariaDB)
QUICK = 0.1  # of the orders and seconds
ROWS_LEAST = 1000


class Plan:
    """How much of everything, and how to tell what goes on."""

    def __init__(self, rounds, share):
        self.rounds = rounds
        self.share = share
        self.begin = time.monotonic()

    def scale(self, load):
        """The load, smaller in a quick run; whole thousands."""
        def less(n):
            return max(int(n * self.share) // ROWS_LEAST * ROWS_LEAST, ROWS_LEAST) if n else n
        return dataclasses.replace(load, rows=less(load.rows), waiting=less(load.waiting)) if self.share < 1 else load

    def seconds(self, n):
        return max(int(n * self.share), 1) if self.share < 1 else n

    def minutes(self):
        return (time.monotonic() - self.begin) / 60

    def progress(self, text):
        print(f"{time.monotonic() - self.begin:6.0f} s  {text}", flush=True)


def read_options():
    parser = argparse.ArgumentParser(prog="contrib/bench/run.sh", description=__doc__.partition(" Run by")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only these; see --list")
    parser.add_argument("--list", action="store_true", help="names the cases and ends")
    parser.add_argument("--quick", action="store_true", help="a tenth of the orders, 3 rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each case (default 7)")
    parser.add_argument("--only", choices=list(DRIVERS), help="one database only")
    parser.add_argument("--output", help="directory for RESULTS.md and results.svg (default contrib/bench for a whole run, else none)")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    parser.add_argument("--workers", help=argparse.SUPPRESS)
    options = parser.parse_args()
    strange = set(options.cases) - {case.name for case in CASES}
    if strange:
        parser.error(f"no such case: {', '.join(sorted(strange))}; see --list")
    return options


def command_line(options):
    """The command that measures the same again."""
    words = ["contrib/bench/run.sh"] + (["--quick"] if options.quick else []) + ([f"--rounds {options.rounds}"] if options.rounds else [])
    return " ".join(words + ([f"--only {options.only}"] if options.only else []) + options.cases)


def measure(options, plan):
    """The sections of all cases, and what servers they were measured with."""
    sections, versions = [], []
    redis_server = servers.Redis(durable=True, options=["--auto-aof-rewrite-percentage", "0"]).start()
    versions.append(f"Redis {redis_server.client().info('server')['redis_version']}")
    for kind in KINDS:
        if options.only in (None, kind.driver):
            db = kind(durable=True, options=SQL_OPTIONS[kind.driver]).start()
            versions.append(f"{DRIVERS[db.driver]} {db.value('SHOW server_version') if db.driver == 'postgresql' else db.value('SELECT VERSION()')}")
            shop = Shop(redis_server, db, options.build, options.workers)
            for case in CASES:
                if db.driver in case.drivers and (not options.cases or case.name in options.cases):
                    sections.append(case.run(shop, plan))
            db.stop()
    redis_server.stop()
    return sections, versions


def write_files(directory, text, picture):
    for name, content in (("RESULTS.md", text), ("results.svg", picture)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(content)
    print(f"\nWritten: RESULTS.md and results.svg in {directory}")


def main():
    options = read_options()
    if options.list:
        for case in CASES:
            print(f"{case.name:14}{case.title}")
        return 0
    servers.end_in_order()
    plan = Plan(options.rounds or (3 if options.quick else 7), QUICK if options.quick else 1)
    sections, versions = measure(options, plan)
    text = report.write(sections, command_line(options), plan, versions)
    print("\n" + text)
    whole = not options.quick and not options.cases and not options.only
    output = options.output or (os.path.dirname(os.path.abspath(__file__)) if whole else None)
    if output:
        write_files(output, text, chart.draw(sections, Limit.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())

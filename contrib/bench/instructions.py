"""Instructions that sluice executes for a row, counted by valgrind: the same on a busy machine and on a quiet one.

Only what is executed in sluice itself and in simdjson counts: the C library, libpq and the others are not ours and differ from machine to machine.
simdjson takes its code for the oldest CPUs, which valgrind knows on all. Two drains of different length are counted, and their difference taken: what
starting and stopping cost is in both.
"""

import dataclasses
import os
import re
import sys

import servers
from daemon import Sluice, queue_config
from orders import audit, make_table, push
from section import DRIVERS, Section

RECORDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.txt")
OURS = re.compile(r"/sluice$|/libsimdjson\.")
LENGTHS = (1_000, 6_000)
GROWTH = 1.10  # more than this is a failure
DRAIN_SECONDS = 300

OBJECT = re.compile(r"ob=\((\d+)\)(?: (.*))?")


def count_file(path):
    """The instructions of our objects in a file of callgrind's: the costs of their functions themselves, without those that they call."""
    names, ours, called, total = {}, False, False, 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            word = OBJECT.match(line.removeprefix("c"))
            if word:
                names.setdefault(word[1], word[2])
                if line.startswith("ob="):
                    ours = bool(OURS.search(names[word[1]]))
            elif line.startswith("calls="):
                called = True  # the next line is the cost of what was called
            elif line[0] in "0123456789+-*":
                total += int(line.split()[1]) if ours and not called else 0
                called = False
    assert total > 0, f"{path} tells nothing of sluice"
    return total


def write_wrapper(program, directory, out):
    """A program that is sluice under callgrind."""
    path = os.path.join(directory, "counted")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nSIMDJSON_FORCE_IMPLEMENTATION=westmere exec {servers.find_program('valgrind')} -q --tool=callgrind "
                   f"--callgrind-out-file={out} {program} \"$@\"\n")
    os.chmod(path, 0o755)
    return path


def drain(program, redis_server, db, directory, rows):
    """Counted instructions from start to end of a daemon that drains a list of so many orders."""
    out = os.path.join(directory, f"callgrind.{rows}")
    db.execute("DROP TABLE IF EXISTS orders")
    make_table(db)
    redis_server.flush()
    client = redis_server.client()
    pushed = push(client, "orders", range(1, rows + 1))
    config = queue_config(redis_server, db, sluice={"lease_ttl": 60}, pool_size=1)
    config[f"queue counted{rows}"] = config.pop("queue orders")  # each length makes its own rows of the ledger, which costs both the same
    daemon = Sluice(write_wrapper(program, directory, out), directory, config, f"counted{rows}").start(wait=False)
    try:
        servers.wait_until(lambda: client.llen("orders") == 0 or not daemon.running(), DRAIN_SECONDS, "the drain under callgrind", 0.1)
    finally:
        well = daemon.end()
    assert well, daemon.log[-3000:]
    audit(client, db, pushed)
    return count_file(out)


def instructions_a_row(program, redis_server, db, directory):
    less, more = (drain(program, redis_server, db, directory, length) for length in LENGTHS)
    return (more - less) / (LENGTHS[1] - LENGTHS[0])


def recorded():
    """{driver: instructions a row} of the file."""
    with open(RECORDED, encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {driver: float(number) for driver, number in lines}


@dataclasses.dataclass(frozen=True)
class Instructions:
    name: str
    title: str
    drivers: tuple = ("postgresql", "mysql")

    def run(self, shop, plan):
        found = instructions_a_row(os.path.join(shop.build, "src", "sluice"), shop.redis_server, shop.db, servers.workspace())
        plan.progress(f"{DRIVERS[shop.driver]}, {self.name}: {found:,.0f} a row")
        before = recorded().get(shop.driver, found)
        line = [f"{found / before:.2f}", f"{found:,.0f}", f"{before:,.0f}"]
        return Section(self.name, self.title, shop.driver, ["measured / recorded", "instructions a row", "recorded"], [line],
                       note="In sluice and simdjson themselves, by callgrind; 8 columns, 1 connection.")


def is_known_machine():
    """What was recorded holds for one kind of CPU."""
    return os.uname().machine == "x86_64" and sys.platform == "linux"

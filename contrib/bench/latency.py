"""From the push of an order to a row that others see, beside the commit of one plain INSERT; and what the daemon does when nothing happens."""

import dataclasses
import statistics
import subprocess
import time

import usage
from section import DRIVERS, Goal, Section
from shop import Load, wait_for_length

INSERT_RATE_MAX = 100  # up to here, latency.c makes an INSERT between two pushes
HEADINGS = ("p50 / INSERT", "p99 / INSERT", "p50, ms", "p99, ms", "p99.9, ms", "orders a round", "orders/s")
NOTE = ("Medians of the rounds' percentiles. INSERT stands for the median commit of a plain INSERT; such INSERTs were made between the pushes, half "
        "way from one to the next, up to 100 orders/s. By turns with these, the same INSERT in a transaction with a ledger row, in two messages: less "
        "than that no order takes that is stored exactly once, and sluice adds the way through Redis. With fewer than a thousand "
        "orders a round, p99.9 is the slowest.")


def insert_at(rate):
    """The label of the INSERTs that were made between pushes of that rate."""
    return f"{rate / 2:g} plain INSERTs/s, their commit"


def ledger_at(rate):
    """The label of those that were made with a ledger row."""
    return f"{rate / 2:g} INSERTs/s with a ledger row, BEGIN to COMMIT"


def measure(shop, load, rate, seconds):
    """What latency.c prints, by label: percentiles in microseconds, and the number of orders."""
    done = subprocess.run([shop.program("latency"), shop.config_file(load, "orders"), str(rate), str(seconds)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    lines = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    return dict(zip((rate, insert_at(rate), ledger_at(rate)), lines))


@dataclasses.dataclass(frozen=True)
class Latency:
    name: str
    title: str
    rates: tuple  # (orders a second, seconds of a round)
    goals: tuple = ()
    drivers: tuple = ("postgresql", "mysql")

    def run(self, shop, plan):
        load = Load()
        found = {}
        shop.prepare(load)
        daemon = shop.daemon(load).start()
        try:
            shop.push(load, orders=1)
            wait_for_length(shop, 0, daemon, 60)
            for number in range(plan.rounds):
                self._round(shop, plan, load, found, number)
        finally:
            well = daemon.end()
        assert well, daemon.log[-3000:]
        return self._section(shop.driver, found)

    def _round(self, shop, plan, load, found, number):
        for rate, seconds in self.rates[::-1] if number % 2 else self.rates:
            shop.db.execute("TRUNCATE TABLE orders")
            for label, percentiles in measure(shop, load, rate, plan.seconds(seconds)).items():
                found.setdefault(label, []).append(percentiles)
            plan.progress(f"{DRIVERS[shop.driver]}, {self.name}, round {number + 1}: {rate:,} orders/s, p50 {found[rate][-1][0]:,.0f} us")

    def _section(self, driver, found):
        medians = {label: [statistics.median(column) for column in zip(*rounds)] for label, rounds in found.items()}
        section = Section(self.name, self.title, driver, [*HEADINGS], [], note=NOTE)
        commit, rates = medians[insert_at(INSERT_RATE_MAX)][0], [rate for rate, _ in self.rates]
        for label in sorted(medians, key=lambda label: (isinstance(label, str), label)):
            p50, p99, p999, n = medians[label]
            against = medians[insert_at(label)][0] if label in rates and insert_at(label) in medians else commit
            section.lines.append([f"{p50 / against:.2f}", f"{p99 / against:.2f}", f"{p50 / 1e3:.2f}", f"{p99 / 1e3:.2f}", f"{p999 / 1e3:.2f}",
                                  f"{n:.0f}", label if isinstance(label, str) else f"{label:,}"])
        section.verdicts = [goal.verdict(driver, medians) for goal in self.goals]
        return section


@dataclasses.dataclass(frozen=True)
class Idle:
    """A daemon whose queue is empty and that nobody asks anything."""

    name: str
    title: str
    seconds: int
    goals: tuple = ()
    drivers: tuple = ("postgresql", "mysql")

    def run(self, shop, plan):
        load = Load()
        shop.prepare(load)
        daemon = shop.daemon(load).start()
        try:
            shop.push(load, orders=1)
            wait_for_length(shop, 0, daemon, 60)
            time.sleep(2)
            before, cpu, seconds = usage.wake_ups(daemon.pid), usage.cpu_seconds(daemon.pid), plan.seconds(self.seconds)
            time.sleep(seconds)
            measured = {"wake-ups": (usage.wake_ups(daemon.pid) - before) / seconds, "cpu": (usage.cpu_seconds(daemon.pid) - cpu) / seconds,
                        "memory": usage.peak_memory(daemon.pid) / 1048576}
        finally:
            daemon.end()
        plan.progress(f"{DRIVERS[shop.driver]}, {self.name}: {measured['wake-ups']:.1f} wake-ups a second")
        line = [f"{measured['wake-ups']:.2f}", f"{measured['cpu'] * 100:.2f}", f"{measured['memory']:.0f}"]
        return Section(self.name, self.title, shop.driver, ["wake-ups a second", "% of a CPU", "memory, MB"], [line],
                       [goal.verdict(shop.driver, measured) for goal in self.goals], note=f"{seconds} s, {load.pool} connections.")


def latency_goal(text, limit, percentile):
    """A percentile at 100 orders/s against the median commit of one INSERT."""
    def against_insert(label):
        return lambda medians: medians[label][percentile] / medians[insert_at(INSERT_RATE_MAX)][0]

    return Goal(text, limit, against_insert(INSERT_RATE_MAX), at_least=False, bound=against_insert(ledger_at(INSERT_RATE_MAX)))

"""A case in which contestants store orders by turns: medians of their rounds, and what one has to do with the other."""

import dataclasses
import statistics

from section import DRIVERS, Section

PROCESSES = ("own", "redis", "sql")
HEADINGS = ("ratio", "lowest", "highest", "rows/s", "CPU, us a row: own", "Redis", "SQL", "CPUs busy", "memory, MB: own", "Redis", "SQL", "who")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contestant with what it has to do."""

    label: str
    contestant: object
    load: object


@dataclasses.dataclass(frozen=True)
class Median:
    """The medians of an entry's runs."""

    rate: float    # rows/s
    rates: tuple   # of each round
    cpu: dict      # microseconds a row, by process
    memory: dict   # bytes, by process; the most that was seen

    @property
    def cpu_a_row(self):
        return sum(self.cpu.values())

    def ratios_to(self, other):
        """Round by round. The two ran one after the other, so a machine that is faster for a while is so for both."""
        return [rate / against for rate, against in zip(self.rates, other.rates)]

    def ratio_to(self, other):
        return statistics.median(self.ratios_to(other))


def median_of(runs):
    names = runs[0].cpu
    return Median(statistics.median(run.rate for run in runs), tuple(run.rate for run in runs),
                  {name: statistics.median(run.cpu[name] / run.rows * 1e6 for run in runs) for name in names},
                  {name: max(run.memory[name] for run in runs) for name in names})


@dataclasses.dataclass(frozen=True)
class Race:
    """The first entry is what the others are held against."""

    name: str
    title: str
    entries: tuple
    goals: tuple = ()
    drivers: tuple = ("postgresql", "mysql")
    rounds: int = 0  # 0: as the run says
    note: str = ""

    def run(self, shop, plan):
        entries = [dataclasses.replace(entry, load=plan.scale(entry.load)) for entry in self.entries]
        runs = {entry.label: [] for entry in entries}
        for number in range(min(self.rounds, plan.rounds) or plan.rounds):
            for entry in entries[::-1] if number % 2 else entries:
                run = entry.contestant().run(shop, entry.load)
                runs[entry.label].append(run)
                plan.progress(f"{DRIVERS[shop.driver]}, {self.name}, round {number + 1}: {entry.label} {run.rate:,.0f} rows/s")
        return self._section(shop.driver, entries, {label: median_of(found) for label, found in runs.items()})

    def _section(self, driver, entries, medians):
        base = entries[0].label
        section = Section(self.name, self.title, driver, [*HEADINGS], [], note=self.note)
        for entry in entries:
            median, against = medians[entry.label], medians[base]
            ratio, ratios = median.ratio_to(against), median.ratios_to(against)
            section.lines.append([f"{ratio:.2f}", f"{min(ratios):.2f}", f"{max(ratios):.2f}", f"{median.rate:,.0f}"]
                                 + [f"{median.cpu[name]:.2f}" for name in PROCESSES] + [f"{median.cpu_a_row * median.rate / 1e6:.2f}"]
                                 + [f"{median.memory[name] / 1048576:.0f}" for name in PROCESSES] + [entry.label])
            section.rates.append((entry.label, median.rate))
            if entry.label != base:
                section.ratios.append((self.name if len(entries) == 2 else f"{self.name}: {entry.label}", ratio))
        section.verdicts = [goal.verdict(driver, medians) for goal in self.goals if goal.driver in (None, driver)]
        return section

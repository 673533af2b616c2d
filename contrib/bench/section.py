"""What a case has found out, for the report and the chart."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Goal:
    """A figure to reach. `value` takes what the case has measured, by name, and gives the figure."""

    text: str
    limit: float
    value: callable
    at_least: bool = True
    driver: str = None  # for one of the two only
    bound: callable = None  # what it can be at best, as `value`: of the limit, or of a transaction with a ledger row

    def verdict(self, driver, measured):
        text = f"{self.text}, {DRIVERS[driver]}"
        if self.bound:
            text += f" (what bounds it: {self.bound(measured):.1f})"
        return Verdict(text, self.value(measured), self.limit, self.at_least)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A goal, and what was measured."""

    text: str
    figure: float
    limit: float
    at_least: bool

    @property
    def met(self):
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def cells(self):
        bound = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        return [f"{self.figure:.2f}", bound, "met" if self.met else "**missed**", self.text]


@dataclasses.dataclass
class Section:
    """A case's part of the report: a table with the ratios first."""

    case: str
    title: str
    driver: str
    headings: list
    lines: list
    verdicts: list = dataclasses.field(default_factory=list)
    note: str = ""
    ratios: list = dataclasses.field(default_factory=list)  # (label, ratio) for the chart
    rates: list = dataclasses.field(default_factory=list)   # (label, rows/s) for the chart


DRIVERS = {"postgresql": "PostgreSQL", "mysql": "MariaDB"}

"""How a load of ticks ended, unit by unit: the same for tick_data, order_book and factors."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Outcome = Literal["ok", "empty", "provisional", "unsupported", "failed"]


class Unit(NamedTuple):
    """A symbol `600000.SH` in a month `YYYY-MM`: what is loaded, reported and entered in the ledger as one."""

    symbol: str
    month: str

    def __str__(self) -> str:
        return f"{self.symbol} {self.month}"


def by_month(units: Iterable[Unit]) -> dict[str, list[str]]:
    """The symbols of each month, both in order."""
    months: dict[str, list[str]] = {}
    for month, symbol in sorted({(unit.month, unit.symbol) for unit in units}):
        months.setdefault(month, []).append(symbol)
    return months


@dataclass(frozen=True)
class UnitReport:
    """How one unit ended.

    `empty` is proven; `provisional` has no rows yet, and nothing proves that there are none. Neither is a failure, nor
    is `unsupported`. `rows` and `rejected` are those of the whole unit after the load, `provisional` and `incomplete`
    its days that are not final, and those that are and are known to lack bars.
    `provider` is the source of the rows. `note` says why other providers did not deliver, or why nothing was done.
    `error` is the cause of a failure, and `transient` says that it is an outage, so that another attempt
    some minutes later may succeed. `changed` says whether this run wrote or deleted rows. `skipped` counts the
    duplicates among the rows that were read.
    """

    symbol: str
    month: str
    outcome: Outcome
    rows: int = 0
    rejected: int = 0
    provider: str | None = None
    note: str = ""
    error: str | None = None
    changed: bool = False
    provisional: int = 0
    incomplete: int = 0
    skipped: int = 0
    transient: bool = False

    @property
    def unit(self) -> Unit:
        return Unit(self.symbol, self.month)


def merged(first: UnitReport | None, second: UnitReport) -> UnitReport:
    """One report of a unit that was loaded in two steps: it failed when one of them did."""
    if first is None:
        return second
    if first.outcome == "failed" != second.outcome:
        changed = first.changed or second.changed
        return replace(second, outcome="failed", error=first.error, changed=changed, transient=first.transient)
    note = second.note if second.note == first.note else "; ".join(filter(None, (first.note, second.note)))
    return replace(second, note=note, changed=first.changed or second.changed)


@dataclass(frozen=True)
class LoadReport:
    """How all units of a load ended, by month and symbol. `requests` counts repeated ones too.

    `undated` counts rejected rows of dropped files that have no time or symbol, and so belong to no symbol-month;
    `unreadable` are the causes of dropped files of which nothing can be read.
    """

    units: tuple[UnitReport, ...]
    seconds: float
    requests: int = 0
    undated: int = 0
    unreadable: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(unit.rows for unit in self.units)

    @property
    def rejected(self) -> int:
        return sum(unit.rejected for unit in self.units) + self.undated

    @property
    def skipped(self) -> int:
        return sum(unit.skipped for unit in self.units)

    @property
    def failed(self) -> tuple[UnitReport, ...]:
        return tuple(unit for unit in self.units if unit.outcome == "failed")

    def count(self, outcome: Outcome) -> int:
        return sum(unit.outcome == outcome for unit in self.units)

    def providers(self) -> dict[str, int]:
        """How many units came from each provider, the most first."""
        return dict(Counter(unit.provider for unit in self.units if unit.provider).most_common())

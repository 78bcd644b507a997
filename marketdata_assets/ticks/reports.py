"""What a load of ticks did, a line for each symbol-month: the form of tick_data, order_book and factors alike."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

Outcome = Literal["ok", "empty", "unsupported", "failed"]


class Unit(NamedTuple):
    """A symbol `600000.SH` in a month `YYYY-MM`: what is loaded, reported and entered in the ledger as one."""

    symbol: str
    month: str

    def __str__(self) -> str:
        return f"{self.symbol} {self.month}"


@dataclass(frozen=True)
class UnitReport:
    """How one unit ended.

    `empty` and `unsupported` are no failures. `rows` and `rejected` are those of the whole unit that stand now;
    after a failure, what stood before. `provider` is where they came from. `note` is for a reader: what another
    provider said before, or that nothing had to be done. `error` is the cause of a failure. `changed` says whether
    this run wrote rows or took some away.
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

    @property
    def unit(self) -> Unit:
        return Unit(self.symbol, self.month)


@dataclass(frozen=True)
class LoadReport:
    """How all units of a load ended, by month and symbol. `requests` counts repeated ones too."""

    units: tuple[UnitReport, ...]
    seconds: float
    requests: int = 0

    @property
    def rows(self) -> int:
        return sum(unit.rows for unit in self.units)

    @property
    def rejected(self) -> int:
        return sum(unit.rejected for unit in self.units)

    @property
    def failed(self) -> tuple[UnitReport, ...]:
        return tuple(unit for unit in self.units if unit.outcome == "failed")

    @property
    def good(self) -> tuple[UnitReport, ...]:
        """Everything that is no failure."""
        return tuple(unit for unit in self.units if unit.outcome != "failed")

    def count(self, outcome: Outcome) -> int:
        return sum(unit.outcome == outcome for unit in self.units)

    def providers(self) -> dict[str, int]:
        """How many units came from each provider, the most first."""
        return dict(Counter(unit.provider for unit in self.units if unit.provider).most_common())

"""Batches of units that land one after the other: one that fails stops no other, a store that is gone ends them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from marketdata_assets.errors import MarketDataError
from marketdata_assets.progress import Progress
from marketdata_assets.stores.errors import StoreAway, StoreFull
from marketdata_assets.ticks.reports import UnitReport


@dataclass
class BatchRunner:
    """Lands the batches of one run. `over` is why the store takes no more."""

    over: MarketDataError | None = None

    def land(self, standing: Sequence[UnitReport], land: Callable[[], list[UnitReport]]) -> list[UnitReport]:
        """What `land` reports; when it fails, `standing`, the reports of what stood before, as failures."""
        from clickhouse_connect.driver.exceptions import ClickHouseError

        cause = f"not begun: {self.over}"
        if self.over is None:
            try:
                return land()
            except (StoreAway, StoreFull) as error:
                self.over = error
                cause = str(error)
            except (MarketDataError, ClickHouseError) as error:
                cause = str(error)
        return [replace(report, outcome="failed", error=cause) for report in standing]


class BatchReport:
    """The reports of a run so far; each goes to whoever watches."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.reports: list[UnitReport] = []
        self._total, self._progress = total, progress

    def end(self, *reports: UnitReport) -> None:
        """Take reports of units that have ended."""
        for report in reports:
            self.reports.append(report)
            if self._progress:
                what = report.error or report.note or f"{report.rows} rows"
                self._progress(len(self.reports), self._total, f"{report.unit}: {what}")

    def in_order(self) -> tuple[UnitReport, ...]:
        """All of them, by month and symbol."""
        return tuple(sorted(self.reports, key=lambda report: (report.month, report.symbol)))

"""Many accounts into MongoDB, one after another; how one is imported is in `ingest`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.alphas.ingest import ImportReport, ingest
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.modes import ImportOptions
from marketdata_assets.alphas.watch import Pair
from marketdata_assets.errors import MarketDataError
from marketdata_assets.fanout import Fanout
from marketdata_assets.progress import Progress
from marketdata_assets.stores.errors import StoreAway, StoreFull


@dataclass(frozen=True)
class ImportRound:
    """What an import of several accounts did; `failed` says why, by account and month."""

    kind: Kind
    pairs: tuple[Pair, ...]
    reports: tuple[ImportReport, ...]
    failed: dict[Pair, str]

    def total(self, count: str) -> int:
        """Sum of a count over the reports, such as `documents`."""
        return sum(getattr(report, count) for report in self.reports)

    @property
    def seconds(self) -> float:
        return sum(report.seconds for report in self.reports)


def import_accounts(
    uri: str,
    root: Path,
    kind: Kind,
    pairs: Collection[Pair],
    *,
    run_id: str,
    fanout: Fanout,
    options: ImportOptions,
    force: bool = False,
    progress: Progress | None = None,
) -> ImportRound:
    """Import `pairs`; what fails for one account leaves the others alone, but a server that is away ends the round."""
    reports: list[ImportReport] = []
    failed: dict[Pair, str] = {}
    away = ""
    for account in sorted({account for account, _ in pairs}):
        months = sorted(month for one, month in pairs if one == account)
        error = away
        if not away:
            try:
                report = ingest(
                    uri,
                    root,
                    account,
                    kind,
                    months,
                    run_id=run_id,
                    fanout=fanout,
                    options=options,
                    force=force,
                    progress=progress,
                )
                reports.append(report)
                failed |= _failed_months(account, report)
                continue
            except (StoreAway, StoreFull) as gone:
                error = away = str(gone)
            except MarketDataError as one:
                error = str(one)
        failed |= {(account, month): error for month in months}
    return ImportRound(kind, tuple(sorted(pairs)), tuple(reports), failed)


def _failed_months(account: str, report: ImportReport) -> dict[Pair, str]:
    units: dict[str, list[str]] = {}
    for unit in report.failed:
        units.setdefault(unit.month, []).append(unit.error or unit.place)
    return {(account, month): _named(errors) for month, errors in units.items()}


def _named(errors: Sequence[str]) -> str:
    return "; ".join(errors[:3]) + (f"; and {len(errors) - 3} more" if len(errors) > 3 else "")

"""Many months packaged at once, and the mark that says from which raw files a month was packaged last.

How one month is packaged is in `packages`.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from marketdata_assets.alphas import layout, watch
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.packages import PackageReport, package
from marketdata_assets.alphas.watch import Pair, State
from marketdata_assets.fanout import Fanout
from marketdata_assets.progress import Progress

Item = tuple[str, Kind, str, State | None]
"""Account, kind, month, and the raw files as they were before packaging began."""


@dataclass(frozen=True)
class MonthPacked:
    """A month of an account, all its kinds; `errors` are raw files that could not be read, and worse."""

    account: str
    month: str
    reports: tuple[PackageReport, ...]
    errors: tuple[str, ...]

    @property
    def days(self) -> int:
        return sum(len(report.written) + len(report.unchanged) for report in self.reports)

    @property
    def written(self) -> int:
        return sum(len(report.written) for report in self.reports)

    @property
    def documents(self) -> int:
        return sum(report.documents for report in self.reports)

    @property
    def duplicates(self) -> int:
        return sum(report.duplicates for report in self.reports)

    @property
    def rejected(self) -> int:
        return sum(report.rejected for report in self.reports)

    @property
    def failed_inputs(self) -> int:
        return sum(len(report.failed) for report in self.reports)


@dataclass(frozen=True)
class PackReport:
    """What one packaging did."""

    months: tuple[MonthPacked, ...]
    seconds: float

    @property
    def failed(self) -> tuple[MonthPacked, ...]:
        return tuple(month for month in self.months if month.errors)


def pack(root: Path, pairs: Sequence[Pair], fanout: Fanout, progress: Progress | None = None) -> PackReport:
    """Bring the packages of `pairs` up to their raw files; one month's failure does not stop the others."""
    started = time.monotonic()
    items = list(_items(root, pairs))
    reports: dict[Pair, list[PackageReport]] = {pair: [] for pair in pairs}
    errors: dict[Pair, list[str]] = {pair: [] for pair in pairs}
    for number, done in enumerate(fanout.map(partial(_pack, root), items, root), 1):
        account, kind, month, _ = done.item
        if done.answer is None:
            errors[account, month].append(f"{account} {kind} {month}: {done.error}")
        else:
            reports[account, month].append(done.answer)
            errors[account, month] += [one.error for one in done.answer.failed]
        if progress:
            progress(number, len(items), f"{account} {kind} {month}")
    months = [MonthPacked(*pair, tuple(reports[pair]), tuple(errors[pair])) for pair in sorted(pairs)]
    return PackReport(tuple(months), time.monotonic() - started)


def packed_from(root: Path, account: str, kind: Kind) -> dict[str, State]:
    """By month, the raw files that were there when it was last packaged without a failure."""
    found = {}
    for path in layout.packages_folder(root, account, kind, "").glob(".*.packed"):
        try:
            found[path.name[1 : -len(".packed")]] = json.loads(path.read_bytes())
        except ValueError:
            continue  # cut off by a crash: packaging once more mends it
    return found


def behind(root: Path, account: str, kind: Kind, raw: Mapping[str, State]) -> dict[str, Literal["missing", "stale"]]:
    """Months whose raw files, which are as `raw` says, were never packaged, or have changed since."""
    done = packed_from(root, account, kind)
    return {month: "stale" if month in done else "missing" for month in raw if raw[month] != done.get(month)}


def _items(root: Path, pairs: Sequence[Pair]) -> Iterator[Item]:
    for account in sorted({account for account, _ in pairs}):
        for kind in KINDS:
            raw = watch.raw_states(root, account, kind)
            yield from ((account, kind, month, raw.get(month)) for one, month in sorted(pairs) if one == account)


def _pack(root: Path, item: Item) -> PackageReport:
    account, kind, month, raw = item
    report = package(root, account, kind, month)
    if raw is not None and not report.failed:
        mark = layout.packages_folder(root, account, kind, f".{month}.packed")
        mark.write_text(json.dumps(raw))
    return report

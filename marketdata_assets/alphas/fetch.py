"""Months of accounts from the API into raw slices: which windows to request, and the result of each.

Accounts are fetched concurrently, the months of one in order; one that fails does not affect another. How a window is
read is in `paging`, requests are in `api`, files in `slices`.
"""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from marketdata_assets.alphas import file_index, slices
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.errors import NoCredentials, NotEnabled
from marketdata_assets.alphas.file_index import Pair, months_by_account
from marketdata_assets.alphas.layout import DAY, KINDS, SECOND, Kind, Window, month_window
from marketdata_assets.alphas.paging import ListReader, all_results
from marketdata_assets.errors import MarketDataError
from marketdata_assets.loading.reports import and_more
from marketdata_assets.progress import Progress

MAX_FAILURES = 7
"""After so many failures in a row nothing more is requested: the server is unavailable, or the disk is full.

Enough to halve a month down to the day that fails.
"""

LISTING_DELAY = dt.timedelta(minutes=1)
"""The newest alphas may not be listed yet, so the last minute is left to the next fetch."""

MAX_NAMED = 5

Outcome = Literal["ok", "empty", "failed"]


@dataclass(frozen=True)
class WindowReport:
    """The result for one window."""

    kind: Kind
    window: Window
    outcome: Outcome
    count: int = 0
    error: Exception | None = None


MonthOutcome = Literal["fetched", "kept", "failed"]


@dataclass(frozen=True)
class MonthReport:
    """The result for one month of an account. `windows` were requested; `finished` slices of earlier fetches were kept.

    A month that is `kept` uses the files on disk, and `note` says why.
    """

    account: str
    month: str
    outcome: MonthOutcome
    note: str = ""
    windows: tuple[WindowReport, ...] = ()
    finished: int = 0
    superseded: int = 0
    requests: int = 0
    files: int = 0  # raw files of the month on disk

    @property
    def alphas(self) -> int:
        return sum(report.count for report in self.windows)

    @property
    def failed(self) -> tuple[WindowReport, ...]:
        return tuple(report for report in self.windows if report.outcome == "failed")

    def count(self, outcome: Outcome) -> int:
        return sum(report.outcome == outcome for report in self.windows)


async def fetch_month(
    client: BrainClient,
    root: Path,
    account: str,
    month: str,
    *,
    kinds: Collection[Kind] = KINDS,
    now: dt.datetime,
    refetch: bool = False,
    reader: ListReader | None = None,
    progress: Progress | None = None,
) -> MonthReport:
    """Make the slices under `root` equal to what the API lists of the UTC month `YYYY-MM` up to `now`.

    Finished windows are requested again only with `refetch`. A window that fails does not stop the others, and its
    files are kept; without a login every window fails with the reason. Raises OSError when the folder of slices cannot
    be read at all. The `reader` of an earlier month of the account knows how far pages reach.
    """
    run = _MonthFetch(client, reader or ListReader(client), root, account, month, progress)
    slices.sweep(root, account, kinds)
    existing = {kind: slices.of_month(root, account, kind, month) for kind in kinds}
    fetchable = month_window(month).until(now - LISTING_DELAY)
    todo: list[tuple[Kind, Window]] = []
    for kind in kinds if fetchable else ():
        assert fetchable
        todo += [(kind, span) for span in ([fetchable] if refetch else slices.missing(fetchable, existing[kind]))]
    await run.all(todo)
    superseded = sum([await run.supersede(kind, existing[kind]) for kind in kinds])
    kept = 0 if refetch else sum(piece.finished for pieces in existing.values() for piece in pieces)
    return run.report(kept, superseded)


@dataclass
class _MonthFetch:
    """One fetch in progress; as many windows are in memory as the client sends requests at a time."""

    client: BrainClient
    reader: ListReader
    root: Path
    account: str
    month: str
    progress: Progress | None

    def __post_init__(self) -> None:
        self._windows = asyncio.Semaphore(self.client.concurrency_limit.maximum)
        self._reports: list[WindowReport] = []
        self._ids: dict[Kind, set[str]] = {kind: set() for kind in KINDS}
        self._total = self._failures = 0
        self._requests_before = self.client.requests
        self._began_ns = time.time_ns()

    async def all(self, todo: Sequence[tuple[Kind, Window]]) -> None:
        if not todo:
            return
        self._total = len(todo)
        try:
            await self.client.login.session()
        except MarketDataError as error:
            for kind, window in todo:
                self._end(WindowReport(kind, window, "failed", error=error))
            return
        await all_results([self._fetch(kind, window) for kind, window in todo])

    async def supersede(self, kind: Kind, existing: Sequence[slices.Slice]) -> int:
        """Remove the older slices that this fetch replaced."""
        loaded = [report.window for report in self._reports if report.kind == kind and report.outcome != "failed"]
        holds = self._ids[kind].__contains__
        return len(await asyncio.to_thread(slices.supersede, existing, loaded, holds, self._began_ns)) if loaded else 0

    def report(self, finished: int, superseded: int) -> MonthReport:
        windows = tuple(sorted(self._reports, key=lambda report: (report.kind, report.window)))
        causes = [str(one.error) for one in windows if one.outcome == "failed"]
        reasons = and_more(list(dict.fromkeys(causes)), MAX_NAMED, "; ")  # not one for each window
        return MonthReport(
            self.account,
            self.month,
            "failed" if causes else "fetched",
            f"{self.account} {self.month}: {len(causes)} windows failed: {reasons}" if causes else "",
            windows,
            finished,
            superseded,
            self.client.requests - self._requests_before,
        )

    async def _fetch(self, kind: Kind, window: Window) -> None:
        """Fetch a window part by part. One that fails is halved, down to a day, and the others are fetched."""
        left = [window]
        while left:
            window = left.pop(0)
            try:
                left[:0] = await self._fetch_part(kind, window)
                self._failures = 0
            except (MarketDataError, OSError) as error:
                self._failures += window.length > SECOND  # a second that cannot be listed says nothing of the next
                if self._failures >= MAX_FAILURES:
                    for one in (window, *left):
                        self._end(WindowReport(kind, one, "failed", error=error))
                    return
                halves = window.halves() if window.length > DAY else None
                if halves:
                    left[:0] = halves
                    self._total += 1
                else:
                    self._end(WindowReport(kind, window, "failed", error=error))

    async def _fetch_part(self, kind: Kind, window: Window) -> list[Window]:
        """Write the slice of the beginning of a window; returns the windows that are left of it."""
        async with self._windows:
            part, left = await self.reader.read(kind, window)
            if part:
                await asyncio.to_thread(slices.write, self.root, self.account, kind, part.window, part.alphas.values())
        self._total += len(left) + bool(part) - 1
        if part:
            self._ids[kind].update(part.alphas)
            self._end(WindowReport(kind, part.window, "ok" if part.alphas else "empty", len(part.alphas)))
        return left

    def _end(self, report: WindowReport) -> None:
        self._reports.append(report)
        if self.progress:
            what = report.error or f"{report.count} alphas"
            self.progress(len(self._reports), self._total, f"{self.account} {report.kind} {report.window}: {what}")


ClientFactory = Callable[[str], BrainClient]
"""The client of an account. Raises NotEnabled or NoCredentials when the account cannot be fetched."""


@dataclass(frozen=True)
class AccountsReport:
    """The result for all accounts and months of one run."""

    months: tuple[MonthReport, ...]
    seconds: float

    @property
    def listed(self) -> tuple[MonthReport, ...]:
        """The months that were requested from the API."""
        return tuple(month for month in self.months if month.outcome == "fetched" or month.windows)

    @property
    def failed(self) -> tuple[MonthReport, ...]:
        return tuple(month for month in self.months if month.outcome == "failed")

    def count(self, outcome: MonthOutcome) -> int:
        return sum(month.outcome == outcome for month in self.months)


def fetch_accounts(
    root: Path,
    pairs: Sequence[Pair],
    client_of: ClientFactory | None,
    *,
    now: dt.datetime,
    refetch: bool = False,
    progress: Progress | None = None,
    complete: Callable[[Sequence[Pair]], None] = lambda pairs: None,
) -> AccountsReport:
    """Make the raw slices of `pairs` equal to what the API lists; without `client_of` the files on disk are used.

    An account that is not set up for fetching, but has files, is kept as it is, unless `refetch` demands it. `complete`
    is called with pairs as they are fetched without a failure.
    """
    started = time.monotonic()

    def keep(account: str, months: Sequence[str], why: str = "") -> list[MonthReport]:
        """Use the files on disk; an account without any file fails."""
        if account in file_index.accounts_on_disk(root):
            return [MonthReport(account, month, "kept", why) for month in months]
        nothing = f"{why or f'account {account} is not fetched.'} It has no files in {root / account} either."
        return [MonthReport(account, month, "failed", nothing) for month in months]

    async def fetch(account: str, months: Sequence[str], client_of: ClientFactory) -> list[MonthReport]:
        try:
            client = client_of(account)
        except (NotEnabled, NoCredentials) as error:
            not_set_up = isinstance(error, NotEnabled) or error.unset
            if not_set_up and not refetch:
                return keep(account, months, str(error))
            return [MonthReport(account, month, "failed", str(error)) for month in months]
        reports: list[MonthReport] = []
        async with client:
            reader = ListReader(client)
            for month in months:
                try:
                    report = await fetch_month(
                        client, root, account, month, now=now, refetch=refetch, reader=reader, progress=progress
                    )
                except Exception as error:  # of whatever class: it is this account's failure, the others continue
                    note = f"{account} {month}: {type(error).__name__}: {error}"
                    report = MonthReport(account, month, "failed", note)
                if report.outcome == "fetched":
                    complete([(account, month)])
                reports.append(report)
        return reports

    wanted = months_by_account(pairs)
    if client_of:
        results = asyncio.run(all_results([fetch(account, months, client_of) for account, months in wanted.items()]))
    else:
        results = [keep(account, months) for account, months in wanted.items()]
    reports: list[MonthReport] = []
    for account, of_account in zip(wanted, results, strict=True):
        raw = (one for one in file_index.listed(root, root / account) if not one.package and not one.not_taken)
        files = Counter(month for one in raw for month in one.months)
        reports += (replace(result, files=files[result.month]) for result in of_account)
    return AccountsReport(tuple(reports), time.monotonic() - started)

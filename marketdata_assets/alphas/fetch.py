"""A month of an account from the API into raw slices: which windows to ask for, page by page, and what came of each.

How a request is made is in `api`, how a slice is written in `slices`.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

from marketdata_assets.alphas import slices
from marketdata_assets.alphas.answers import Page
from marketdata_assets.alphas.api import PAGE_LIMIT, BrainClient
from marketdata_assets.alphas.errors import PagesShift, RequestRefused, WindowTooDense
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.windows import Window, month_window
from marketdata_assets.errors import MarketDataError
from marketdata_assets.progress import Progress

T = TypeVar("T")

OFFSET_CAP = 10000
"""How far the API pages through one window."""

STEP = PAGE_LIMIT - 1
"""From page to page: each begins with the last alpha of the one before, which shows that nothing slipped between."""

READINGS = 4
"""How often a window is read whose pages shift."""

SETTLED = dt.timedelta(minutes=1)
"""The last of time is left for later: what was created just now may not be listed yet."""

Outcome = Literal["ok", "empty", "failed"]


@dataclass(frozen=True)
class WindowReport:
    """How one window ended."""

    kind: Kind
    window: Window
    outcome: Outcome
    count: int = 0
    error: Exception | None = None


@dataclass(frozen=True)
class FetchReport:
    """What one fetch did. `windows` are those that were asked for; `finished` slices of earlier fetches stayed."""

    account: str
    month: str
    windows: tuple[WindowReport, ...]
    finished: int
    superseded: int
    requests: int
    seconds: float

    @property
    def alphas(self) -> int:
        return sum(report.count for report in self.windows)

    @property
    def failed(self) -> tuple[WindowReport, ...]:
        return tuple(report for report in self.windows if report.outcome == "failed")

    def count(self, outcome: Outcome) -> int:
        return sum(report.outcome == outcome for report in self.windows)


async def fetch(
    client: BrainClient,
    root: Path,
    account: str,
    month: str,
    *,
    kinds: Collection[Kind] = KINDS,
    now: dt.datetime,
    refetch: bool = False,
    concurrency: int = 5,
    cap: int = OFFSET_CAP,
    progress: Progress | None = None,
) -> FetchReport:
    """Make the slices under `root` hold what the API lists of the UTC month `YYYY-MM` up to `now`.

    Windows that are finished are not asked for again unless `refetch`. A window that fails does not stop the others,
    and stays as it was on disk; without a login every window fails with the reason. Raises OSError when the folder of
    slices cannot be read at all.
    """
    run = _Run(client, root, account, month, concurrency, cap, progress)
    slices.sweep(root, account, kinds)
    known = {kind: slices.listed(root, account, kind, month) for kind in kinds}
    whole = month_window(month).until(now - SETTLED)
    todo: list[tuple[Kind, Window]] = []
    for kind in kinds if whole else ():
        assert whole
        todo += [(kind, span) for span in ([whole] if refetch else slices.missing(whole, known[kind]))]
    await run.all(todo)
    superseded = sum([await run.supersede(kind, known[kind]) for kind in kinds])
    stayed = 0 if refetch else sum(piece.finished for pieces in known.values() for piece in pieces)
    return run.report(stayed, superseded)


class _Run:
    """One fetch under way. At most `concurrency` windows are held in memory, and as many requests are under way."""

    def __init__(
        self,
        client: BrainClient,
        root: Path,
        account: str,
        month: str,
        concurrency: int,
        cap: int,
        progress: Progress | None,
    ) -> None:
        self._client, self._root, self._account, self._month, self._cap = client, root, account, month, cap
        self._progress = progress
        self._windows = asyncio.Semaphore(concurrency)
        self._requests = asyncio.Semaphore(concurrency)
        self._reports: list[WindowReport] = []
        self._ids: dict[Kind, set[str]] = {kind: set() for kind in KINDS}
        self._total = 0
        self._asked_before = client.requests
        self._began, self._began_ns = time.monotonic(), time.time_ns()

    async def all(self, todo: Sequence[tuple[Kind, Window]]) -> None:
        if not todo:
            return
        self._total = len(todo)
        try:
            await self._client.login()
        except MarketDataError as error:
            for kind, window in todo:
                self._end(WindowReport(kind, window, "failed", error=error))
            return
        await _together([self._take(kind, window) for kind, window in todo])

    async def supersede(self, kind: Kind, known: Sequence[slices.Slice]) -> int:
        """Remove the older slices that this fetch replaced."""
        landed = [report.window for report in self._reports if report.kind == kind and report.outcome != "failed"]
        holds = self._ids[kind].__contains__
        return len(await asyncio.to_thread(slices.supersede, known, landed, holds, self._began_ns)) if landed else 0

    def report(self, finished: int, superseded: int) -> FetchReport:
        windows = tuple(sorted(self._reports, key=lambda report: (report.kind, report.window)))
        requests = self._client.requests - self._asked_before
        seconds = time.monotonic() - self._began
        return FetchReport(self._account, self._month, windows, finished, superseded, requests, seconds)

    async def _take(self, kind: Kind, window: Window) -> None:
        """Land a window, or the parts it has to be read in."""
        try:
            async with self._windows:
                read = await self._read(kind, window)
                if isinstance(read, dict):
                    await asyncio.to_thread(slices.land, self._root, self._account, kind, window, read.values())
        except (MarketDataError, OSError) as error:
            self._end(WindowReport(kind, window, "failed", error=error))
            return
        if isinstance(read, dict):
            self._ids[kind].update(read)
            self._end(WindowReport(kind, window, "ok" if read else "empty", len(read)))
        else:
            self._total += len(read) - 1
            await _together([self._take(kind, part) for part in read])

    async def _read(self, kind: Kind, window: Window) -> dict[str, bytes] | Sequence[Window]:
        """The alphas of a window by id, or the parts it has to be cut into; pages that do not fit are read again."""
        flaw = ""
        for _ in range(READINGS):
            first = await self._page(kind, window, 0)
            if first.count > PAGE_LIMIT and len(days := window.days()) > 1:
                return days
            if first.count > self._cap:
                return self._halves(window, first.count)
            offsets = range(STEP, first.count - 1, STEP)
            try:
                rest = await _together([self._page(kind, window, at, first.count - at) for at in offsets])
            except RequestRefused as error:
                if error.status == 400:  # the cap is lower than we think
                    return self._halves(window, first.count)
                raise
            pages = [first, *rest]
            flaw = _flaw(pages)
            if not flaw:
                _check_dates(kind, window, pages)
                return {name: raw for page in pages for name, raw in zip(page.ids, page.results, strict=True)}
        raise PagesShift(f"{kind} {window}", READINGS, flaw)

    async def _page(self, kind: Kind, window: Window, offset: int, left: int = PAGE_LIMIT) -> Page:
        async with self._requests:
            return await self._client.page(kind, window, offset, min(left, PAGE_LIMIT))

    def _halves(self, window: Window, count: int) -> Sequence[Window]:
        halves = window.halves()
        if halves is None:
            raise WindowTooDense(str(window), count, self._cap)
        return halves

    def _end(self, report: WindowReport) -> None:
        self._reports.append(report)
        if self._progress:
            what = report.error or f"{report.count} alphas"
            self._progress(len(self._reports), self._total, f"{self._account} {report.kind} {report.window}: {what}")


def _flaw(pages: Sequence[Page]) -> str:
    """Why the pages are not one list; empty when they are.

    Each page begins with the last alpha of the one before, or with another of the same moment, of which the API does
    not say how it orders them. So nothing between the two can have been pushed from one page to the other unseen.
    """
    counts = sorted({page.count for page in pages})
    if len(counts) > 1:
        return f"the count was {' and '.join(map(str, counts))}"
    ids = {name for page in pages for name in page.ids}
    if len(ids) != counts[0]:
        return f"{len(ids)} of {counts[0]} alphas came"
    for one, two in pairwise(pages):
        if one.ids[-1:] != two.ids[:1] and one.created[-1:] != two.created[:1]:
            return "a page did not begin where the one before ended"
    return ""


def _check_dates(kind: Kind, window: Window, pages: Sequence[Page]) -> None:
    """Refuse a list that does not keep to the window that was asked for."""
    for page in pages:
        for name, created in zip(page.ids, page.created, strict=True):
            if created is not None and not window.start <= created < window.end:
                answer = f"alpha {name} of {created.isoformat()}, outside the window"
                raise RequestRefused(f"list of {kind} {window}", 200, answer)


async def _together(tasks: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order, or the first error, and then nothing is left running."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]

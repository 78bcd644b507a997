"""The API's list of a window, page by page: what the pages prove, how far they reach, and where the next ones begin.

Only full pages that follow one another count, up to the last whole second that they cover; what is left of the window
is listed from there. So neither a cap of `count` nor one of `offset` loses an alpha. Files and failures are in `fetch`.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any, TypeVar

from marketdata_assets.alphas.api import PAGE_LIMIT, BrainClient
from marketdata_assets.alphas.api_requests import Page
from marketdata_assets.alphas.errors import AlphasError, RequestRejected
from marketdata_assets.alphas.layout import SECOND, Kind, Window
from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.logs import get_logger

T = TypeVar("T")

REACH = 10_000
"""How many alphas of one window the API pages through, as long as it does not show otherwise."""

STEP = PAGE_LIMIT - 1
"""From page to page: each begins with the last alpha of the one before, which proves that none is missing between."""

MAX_PAGES = 10
"""Of one window at a time, which stays below a cap of 1,000: what a killed process has to request again."""

MAX_READS = 4
"""How often a window is read whose pages contradict one another."""

ROUND = 1000
"""A count that is a multiple of this may be a cap."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Part:
    """All alphas of `window` by id, as raw bytes."""

    window: Window
    alphas: dict[str, bytes]


class ListReader:
    """Reads the list of one account, or of it what fits the filters `where`.

    `reach` is lowered to where a page was rejected, failed or was too short.
    """

    def __init__(self, client: BrainClient, reach: int = REACH, where: str = "") -> None:
        self.reach = reach
        self._client = client
        self._where = where
        self._requests = asyncio.Semaphore(client.concurrency_limit.maximum)

    async def read(self, kind: Kind, window: Window) -> tuple[Part | None, list[Window]]:
        """The beginning of `window`, and the windows that are left to read; no part when it must be split first.

        Raises the errors of `BrainClient.page`, for a window of one second TransientError when its pages keep
        changing, and AlphasError when it has too many alphas.
        """
        for _ in range(MAX_READS):
            first = await self._page(kind, window, 0, PAGE_LIMIT)
            pages = [first, *await self._following(kind, window, first.count)]
            cause = _contradiction(pages)
            if not cause:
                return self._part(window, pages)
        halves = window.halves()
        if halves is None:
            raise TransientError(
                f"{kind} {window}: the pages changed during {MAX_READS} reads ({cause}). Run the same partition again;"
                " if the cause stays the same, fetch the alphas by id."
            )
        if _contradiction([first]):
            return None, list(halves)
        return self._part(window, [first])  # a single response cannot shift

    async def _following(self, kind: Kind, window: Window, count: int) -> list[Page]:
        """The full pages after the first.

        The last page of a window is left out: it is listed from its first second on, which shows a count that was too
        low. A single second is read to its end, and one alpha further for the same reason.
        """
        end = min(count - PAGE_LIMIT, MAX_PAGES * STEP) if window.halves() else count

        async def page(offset: int) -> Page | None:
            limit = min(PAGE_LIMIT, count - offset + 1)
            async with self._requests:
                if offset + limit > self.reach:
                    return None
                try:
                    found = await self._page(kind, window, offset, limit)
                except MarketDataError:
                    found = None  # the window that begins there is requested next, and fails if this error lasts
            reached = offset + (len(found.ids) if found else 0)
            if reached < min(offset + limit, count):
                self.reach = min(self.reach, reached)
                log.info("list_reach", account=self._client.account, reach=self.reach)
                return None
            return found

        pages = await all_results([page(offset) for offset in range(STEP, end, STEP)])
        return [found for found in takewhile(bool, pages) if found]

    async def _page(self, kind: Kind, window: Window, offset: int, limit: int) -> Page:
        page = await self._client.page(kind, window, offset, limit, self._where)
        for name, created in zip(page.ids, page.created, strict=True):
            if created is not None and not window.start <= created < window.end:
                answer = f"alpha {name} of {created.isoformat()}, outside the window"
                raise RequestRejected(f"list of {kind} {window}", 200, answer)
        return page

    def _part(self, window: Window, pages: Sequence[Page]) -> tuple[Part | None, list[Window]]:
        """The alphas before the second in which the pages end; all of them when the pages are the whole window.

        Only a page that is not full shows that nothing follows. An alpha without a date stays in the part, as the rest
        of the window may not list it.
        """
        count = pages[0].count
        alphas = {name: raw for page in pages for name, raw in zip(page.ids, page.results, strict=True)}
        single = window.halves() is None
        ended = len(alphas) == count <= len(pages) * STEP
        if ended and not (single and count and count % ROUND == 0):
            return Part(window, alphas), []
        if single:
            raise AlphasError(
                f"{window}: {count} alphas were created within this second, and the API pages through"
                f" {len(alphas)} at most. Fetch them by id, or import an archive that has them."
            )
        ends = max(created for page in pages for created in page.created if created)
        cut = max(ends.replace(microsecond=0), window.start)
        if cut == window.start:
            cut += SECOND
            return None, [Window(window.start, cut), Window(cut, window.end)]
        before = {
            name: alphas[name]
            for page in pages
            for name, created in zip(page.ids, page.created, strict=True)
            if created is None or created < cut
        }
        return Part(Window(window.start, cut), before), [Window(cut, window.end)]


def _contradiction(pages: Sequence[Page]) -> str:
    """Why the pages are not the beginning of one list; empty when they are.

    Each page begins with the last alpha of the one before, or with another of the same moment, of which the API does
    not say how it orders them. So nothing between the two can have been pushed from one page to the other unseen.
    """
    counts = sorted({page.count for page in pages})
    if len(counts) > 1:
        return f"the count was {' and '.join(map(str, counts))}"
    ids = {name for page in pages for name in page.ids}
    listed = sum(len(page.ids) for page in pages) - len(pages) + 1
    expected = min(counts[0], max(listed, PAGE_LIMIT))
    if len(ids) != expected:
        return f"{len(ids)} of {expected} alphas were delivered"
    for page, following in pairwise(pages):
        same_moment = page.created[-1:] == following.created[:1] != [None]
        if page.ids[-1:] != following.ids[:1] and not same_moment:
            return "a page did not begin where the one before ended"
    moments = [created for page in pages for created in page.created if created]
    if any(after < before for before, after in pairwise(moments)):
        return "the alphas were not ordered by dateCreated"
    if counts[0] > len(pages) * STEP and not moments:
        return f"alphas {pages[0].ids[0]} to {pages[-1].ids[-1]} have no dateCreated"
    return ""


async def all_results(tasks: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first error cancels the other tasks."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]

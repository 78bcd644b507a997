"""Pages of history: windows, edges, order, cursors that are stored, and servers that page in either direction."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.errors import BadCursor, BadPage
from marketdata_assets.exchanges.records import OpenInterest
from marketdata_assets.exchanges.rest_history import Cursor, FetchedPage, Page, Row, Window, next_page, walk

ABOUT = "deribit trades ABC-PERPETUAL"
Times = list[tuple[int, str]]


def row(time: int, key: str = "") -> Row:
    record = OpenInterest("deribit", "inverse", "ABC-USD", "ABC-PERPETUAL", time, 0, key or str(time), None, None)
    return Row(time, key or str(time), (record,))


class Venue:
    """Rows at moments that repeat, given out `size` at a time: by the last moment, or span by span."""

    def __init__(self, times: list[int], size: int, *, newest_first: bool = False) -> None:
        self.rows = [(time, f"{number}") for number, time in enumerate(sorted(times))]
        self.size, self.newest_first, self.asked = size, newest_first, 0

    async def by_edge(self, cursor: Cursor) -> FetchedPage:
        self.asked += 1
        if self.newest_first:
            found = [one for one in reversed(self.rows) if cursor.start <= one[0] <= cursor.at]
        else:
            found = [one for one in self.rows if cursor.at <= one[0] < cursor.end]
        return FetchedPage([row(*one) for one in found[: self.size]], len(found) <= self.size)

    async def by_span(self, cursor: Cursor) -> FetchedPage:
        self.asked += 1
        if self.newest_first:
            reached = max(cursor.at - self.size, cursor.start - 1)
            found = [one for one in reversed(self.rows) if reached < one[0] <= cursor.at]
        else:
            reached = min(cursor.at + self.size, cursor.end)
            found = [one for one in self.rows if cursor.at <= one[0] < reached]
        return FetchedPage([row(*one) for one in found], False, reached)

    def within(self, window: Window) -> list[str]:
        keys = [key for time, key in self.rows if window.start <= time < window.end]
        return keys[::-1] if self.newest_first else keys


def keys(pages: list[Page]) -> list[str]:
    return [record.contracts or "" for page in pages for record in page.records if isinstance(record, OpenInterest)]


async def collected(pages: AsyncIterator[Page]) -> list[Page]:
    return [page async for page in pages]


spans = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(lambda pair: Window(pair[0], pair[1]))


@given(st.lists(st.integers(0, 60), max_size=60), spans, st.booleans(), st.integers(0, 10**6))
def test_every_row_of_the_window_comes_once_whatever_the_page_size(
    times: list[int], window: Window, newest_first: bool, seed: int
) -> None:
    most_at_once = max((times.count(time) for time in times), default=0)
    size = most_at_once + Random(seed).randint(1, 20)
    for how in ("by_edge", "by_span"):
        venue = Venue(times, size, newest_first=newest_first)
        pages = asyncio.run(collected(walk(ABOUT, window, getattr(venue, how), newest_first=newest_first)))
        assert keys(pages) == venue.within(window)
        assert venue.asked == len(pages)
        assert venue.asked <= len(times) + window.end - window.start + 1
        assert bool(pages) == (window.start < window.end)
        assert all(page.cursor.done == (page is pages[-1]) for page in pages)


@given(st.lists(st.integers(0, 40), min_size=5, max_size=60), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_a_stored_cursor_goes_on_where_it_was(times: list[int], newest_first: bool, spanwise: bool, seed: int) -> None:
    random = Random(seed)
    venue = Venue(times, max(times.count(time) for time in times) + 1, newest_first=newest_first)
    fetch = venue.by_span if spanwise else venue.by_edge
    window = Window(2, 39)

    async def in_pieces() -> list[str]:
        """Stop after some pages, time and again, and go on from the text of the cursor."""
        found: list[str] = []
        where: Window | Cursor = window
        while not (isinstance(where, Cursor) and where.done):
            pages = walk(ABOUT, where, fetch, newest_first=newest_first)
            left = random.randint(1, 3)
            async for page in pages:
                found += keys([page])
                where = Cursor.read(page.cursor.text())
                left -= 1
                if not left:
                    break
        return found

    assert asyncio.run(in_pieces()) == venue.within(window)


def begun(at: int = 10, seen: tuple[str, ...] = (), **fields: object) -> Cursor:
    return Cursor(ABOUT, 10, 20, at, seen, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cursor", "fetched", "cause"),
    [
        (begun(), FetchedPage([row(9)], True), "outside"),
        (begun(), FetchedPage([row(20)], True), "outside"),
        (begun(), FetchedPage([row(12), row(11)], True), "behind"),
        (begun(12), FetchedPage([row(11)], True), "behind"),
        (begun(), FetchedPage([row(12, "a"), row(12, "a")], True), "twice"),
        (begun(), FetchedPage([], False), "no new row"),
        (begun(12, ("a",)), FetchedPage([row(12, "a")], False), "no new row"),
        (begun(12), FetchedPage([], False, reached=12), "no way forward"),
        (begun(12), FetchedPage([row(15)], False, reached=15), "beyond"),
    ],
)
def test_a_page_that_would_lose_or_repeat_rows_is_refused(cursor: Cursor, fetched: FetchedPage, cause: str) -> None:
    with pytest.raises(BadPage, match=cause) as caught:
        next_page(cursor, fetched)
    assert str(caught.value).startswith(ABOUT)


@pytest.mark.parametrize(
    ("fetched", "cause"),
    [
        (FetchedPage([row(12), row(13)], True), "behind"),
        (FetchedPage([row(19)], True), "behind"),
        (FetchedPage([], False, reached=15), "no way forward"),
        (FetchedPage([row(12)], False, reached=12), "beyond"),
    ],
)
def test_pages_of_the_newest_first_are_held_against_the_same_rules(fetched: FetchedPage, cause: str) -> None:
    with pytest.raises(BadPage, match=cause):
        next_page(begun(15), fetched, newest_first=True)


def test_rows_of_the_edge_are_remembered_as_long_as_it_is_the_edge() -> None:
    first = next_page(begun(), FetchedPage([row(11), row(12, "a")], False))
    assert (first.cursor.at, first.cursor.seen) == (12, ("a",))
    second = next_page(first.cursor, FetchedPage([row(12, "a"), row(12, "b")], False))
    assert (keys([second]), second.cursor.seen) == (["b"], ("a", "b"))
    third = next_page(second.cursor, FetchedPage([row(12, "a"), row(12, "b"), row(13, "c")], False))
    assert (keys([third]), third.cursor.at, third.cursor.seen) == (["c"], 13, ("c",))


def test_a_cursor_of_another_history_is_refused() -> None:
    with pytest.raises(BadCursor, match="it is of"):
        Cursor.begin("deribit trades OTHER", begun())
    for text in ("", "{}", b"\xff", '{"about":"x","start":1,"end":2,"at":1,"more":1}'):
        with pytest.raises(BadCursor):
            Cursor.read(text)


def test_windows_are_half_open_and_run_forward() -> None:
    assert Cursor.begin(ABOUT, Window(5, 5)).done
    for start, end in ((6, 5), (-1, 5)):
        with pytest.raises(ValueError, match="window"):
            Window(start, end)


def test_an_error_of_the_venue_leaves_the_cursor_of_the_last_page() -> None:
    venue = Venue([11, 12, 13, 14], 2)
    answers: list[Callable[[Cursor], object]] = []

    async def failing(cursor: Cursor) -> FetchedPage:
        if venue.asked == 1 and not answers:
            answers.append(repr)
            raise OSError("away")
        return await venue.by_edge(cursor)

    async def main() -> list[str]:
        found: list[str] = []
        where: Window | Cursor = Window(10, 20)
        for _ in range(2):
            try:
                async for page in walk(ABOUT, where, failing):
                    found += keys([page])
                    where = page.cursor
            except OSError:
                continue
        return found

    assert asyncio.run(main()) == ["0", "1", "2", "3"]

"""REST history page by page: half-open windows, a cursor that can be stored, no row lost or duplicated.

How a venue pages is in its module `history`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import msgspec
from msgspec.structs import replace

from marketdata_assets.exchanges.errors import UNREADABLE, BadCursor, BadPage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Gap

MS = 1_000_000


@dataclass(frozen=True)
class Window:
    """From `start` up to `end`, which is no longer in it; ns."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a window from {self.start} to {self.end}")


class Cursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The position in a history. Store it after the records of its page, so that none is lost.

    Oldest first, all rows before `at` have been given out; newest first, all rows after it. Of those at `at` itself
    the ones in `seen`.
    """

    about: str  # venue, kind and instrument
    start: int
    end: int
    at: int
    seen: tuple[str, ...] = ()
    token: str | None = None  # what the venue itself goes by, as the number of a trade
    done: bool = False

    @classmethod
    def begin(cls, about: str, where: "Window | Cursor", *, newest_first: bool = False) -> Self:
        """The cursor of a new window, or the stored one; BadCursor when that one belongs to another history."""
        if isinstance(where, Window):
            at = where.end - 1 if newest_first else where.start
            return cls(about, where.start, where.end, at, done=where.start == where.end)
        if not isinstance(where, cls) or where.about != about:
            raise BadCursor(about, f"it is of {where.about}")
        return where

    @property
    def number(self) -> int | None:
        """The token as a sequence number; None without a token. Raises BadCursor."""
        if self.token and not self.token.isdecimal():
            raise BadCursor(self.about, f"{self.token!r} is not a trade number")
        return None if self.token is None else int(self.token)

    def text(self) -> str:
        """The cursor as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """What `text` wrote; BadCursor."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadCursor("history", str(error)) from error


@dataclass(frozen=True)
class Row:
    """One row of a page: its time, what distinguishes it from others of the same time, and what it became."""

    time: int  # ns
    key: str
    records: Sequence[AnyRecord | Gap]


@dataclass(frozen=True)
class FetchedPage:
    """One answer of a venue, in the order of the history.

    `reached` is where the next page begins when the answer holds all there is up to there. Without it, the next page
    begins at the last row, and the rows of that moment are not given out again.
    """

    rows: Sequence[Row]
    done: bool  # nothing of the window remains
    reached: int | None = None
    token: str | None = None


@dataclass(frozen=True)
class Page:
    """The records of a page, and the cursor behind them."""

    records: list[AnyRecord | Gap]
    cursor: Cursor


Fetch = Callable[[Cursor], Awaitable[FetchedPage]]


def walk(about: str, where: Window | Cursor, fetch: Fetch, *, newest_first: bool = False) -> AsyncIterator[Page]:
    """Page after page of a history, until the window is done.

    Raises BadCursor at once, and with a page BadPage and whatever `fetch` raises.
    """
    return _pages(Cursor.begin(about, where, newest_first=newest_first), fetch, newest_first)


async def _pages(cursor: Cursor, fetch: Fetch, newest_first: bool) -> AsyncIterator[Page]:
    while not cursor.done:
        page = next_page(cursor, await fetch(cursor), newest_first=newest_first)
        yield page
        cursor = page.cursor


def next_page(cursor: Cursor, fetched: FetchedPage, *, newest_first: bool = False) -> Page:
    """The rows that are new, checked, and the cursor behind them; BadPage."""
    seen = frozenset(cursor.seen)
    rows = [row for row in fetched.rows if row.time != cursor.at or row.key not in seen]
    _check(cursor, rows, newest_first)
    records = [record for row in rows for record in row.records]
    return Page(records, _behind(cursor, fetched, rows, newest_first))


def _check(cursor: Cursor, rows: Sequence[Row], newest_first: bool) -> None:
    last = cursor.at
    for row in rows:
        if not cursor.start <= row.time < cursor.end:
            raise BadPage(cursor.about, f"a row of {row.time}, outside {cursor.start} to {cursor.end}")
        if row.time > last if newest_first else row.time < last:
            raise BadPage(cursor.about, f"a row of {row.time} behind one of {last}")
        last = row.time
    if len({(row.time, row.key) for row in rows}) != len(rows):
        raise BadPage(cursor.about, f"a row twice in the page at {cursor.at}")


def _behind(cursor: Cursor, fetched: FetchedPage, rows: Sequence[Row], newest_first: bool) -> Cursor:
    if fetched.done:
        return replace(cursor, done=True, seen=(), token=None)
    if fetched.reached is not None:
        reached = fetched.reached
        if reached >= cursor.at if newest_first else reached <= cursor.at:
            raise BadPage(cursor.about, f"no way forward from {cursor.at}")
        if any(row.time <= reached if newest_first else row.time >= reached for row in rows):
            raise BadPage(cursor.about, f"a row beyond {reached}, where the next page begins")
        done = reached < cursor.start if newest_first else reached >= cursor.end
        return replace(cursor, at=reached, seen=(), token=fetched.token, done=done)
    if not rows:
        raise BadPage(cursor.about, f"no new row at {cursor.at}, and yet there is more")
    at = rows[-1].time
    seen = cursor.seen if at == cursor.at else ()
    return replace(cursor, at=at, seen=(*seen, *(row.key for row in rows if row.time == at)), token=fetched.token)


def numbered_page(
    cursor: Cursor, stream: str, instrument: Instrument, fetched: Sequence[Row], *, more: bool
) -> FetchedPage:
    """A page of rows whose keys are numbers, with a Gap before each that does not follow the one before it.

    The cursor's token is the next number. Raises BadPage when numbers go backwards. `more` says that the venue has rows
    after these.
    """
    inside = [row for row in fetched if row.time < cursor.end]
    token = str(int(inside[-1].key) + 1) if inside else cursor.token
    done = len(inside) < len(fetched) or not more
    rows: list[Row] = []
    expected, before = int(cursor.token or 0), cursor.at
    for row in inside:
        records, number = [*row.records], int(row.key)
        if number < expected:
            raise BadPage(cursor.about, f"number {number} where {expected} comes next")
        if 0 < expected < number:
            records.insert(0, Gap(*instrument.key, stream, expected - 1, number, before, row.time, "sequence"))
        expected, before = number + 1, row.time
        rows.append(Row(row.time, row.key, records))
    return FetchedPage(rows, done, token=token)


def milliseconds(start: int, end: int) -> tuple[int, int] | None:
    """The first and the last millisecond of a half-open span of ns; None when no millisecond lies in it."""
    first, last = -(-start // MS), (end - 1) // MS
    return (first, last) if first <= last else None


@contextmanager
def as_bad_page(about: str) -> Iterator[None]:
    """Turn everything that unreadable bytes make a parser raise into BadPage."""
    try:
        yield
    except UNREADABLE as error:
        raise BadPage(about, f"{error}") from error

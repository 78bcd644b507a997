"""A capture through the code that live traffic goes through, and what came of it.

Nothing here looks at a clock: the same capture gives the same summary, speeds are those of the recording.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.errors import BadCapture, UnknownVenue
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.records import DeadLetter, Exchange, Gap, MarketType, Outcome, Record, VenueError

KEPT_ERRORS = 20  # so many causes of dead letters and words of venues are kept for people; all are counted


class Feed(Protocol):
    """What replay needs of a venue's feed."""

    books: dict[str, BookState]

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]: ...
    def push_all(self, raws: Iterable[bytes], ts_recv: int, connection: int = 0) -> list[Outcome]: ...
    def answer(self, url: str, raw: bytes, ts_recv: int) -> list[Outcome]: ...
    def reopened(self, ts_recv: int, connection: int = 0) -> list[Outcome]: ...
    def stream_of(self, raw: bytes) -> str: ...


@dataclass
class StreamTotals:
    """What came over one stream, of all its instruments."""

    messages: int = 0
    records: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    errors: int = 0


@dataclass
class Replay:
    """Pushes entries through a feed and counts."""

    feed: Feed
    messages: int = 0
    streams: dict[str, StreamTotals] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)  # the first ones
    notes: list[str] = field(default_factory=list)
    first: int | None = None  # ns
    last: int | None = None

    def take(self, entries: Iterable[Entry]) -> None:
        """Push the entries, one after the other."""
        for entry in entries:
            self.messages += 1
            self.first = entry.ts_recv if self.first is None else min(self.first, entry.ts_recv)
            self.last = entry.ts_recv if self.last is None else max(self.last, entry.ts_recv)
            results, name = outcomes(self.feed, entry), self._stream(entry)
            stream = self.streams.get(name) or self.streams.setdefault(name, StreamTotals())
            stream.messages += 1
            for outcome in results:
                self._count(stream, outcome)

    def _stream(self, entry: Entry) -> str:
        """The name under which an entry is counted: its stream, the address of its request, or its kind."""
        if entry.kind == "in":
            return self.feed.stream_of(entry.raw)
        if entry.kind != "http":
            return entry.kind
        parts = urlsplit(entry.url)
        return f"http {parts.scheme}://{parts.hostname}{parts.path}" if entry.url else "snapshot"

    def _count(self, stream: StreamTotals, outcome: Outcome) -> None:
        if isinstance(outcome, Record):
            stream.records[str(type(outcome).__struct_config__.tag)] += 1
        elif isinstance(outcome, Gap):
            stream.gaps += outcome.healed_at is None or outcome.cause == "repeat"
        elif isinstance(outcome, DeadLetter | VenueError):
            stream.errors += 1
            if len(self.errors) < KEPT_ERRORS:
                self.errors.append(
                    outcome.cause if isinstance(outcome, DeadLetter) else f"{outcome.code}: {outcome.message}"
                )

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return ((self.last or 0) - (self.first or 0)) / 1e9

    def records(self) -> dict[str, int]:
        """Records by type."""
        total = sum((stream.records for stream in self.streams.values()), Counter[str]())
        return dict(sorted(total.items()))

    def books(self) -> dict[str, BookState]:
        """Books by the venue's instrument; with its channel where an instrument has books of several."""
        names = Counter(state.instrument.name for state in self.feed.books.values())
        named = {
            state.instrument.name if names[state.instrument.name] == 1 else key: state
            for key, state in self.feed.books.items()
        }
        return dict(sorted(named.items()))

    def as_dict(self) -> dict[str, Any]:
        """The summary for machines."""
        return {
            "messages": self.messages,
            "records": self.records(),
            "errors": sum(stream.errors for stream in self.streams.values()),
            "streams": {name: self.streams[name].messages for name in sorted(self.streams)},
            "books": {name: _book(state) for name, state in self.books().items()},
        }


def replay(paths: Sequence[Path], exchange: Exchange | None = None, market_type: MarketType | None = None) -> Replay:
    """Push captures of one venue and market through its feed, each continuing where the one before ended.

    Instruments are known by their names only, so sizes in base units stay null where contracts are traded.
    Raises BadCapture and UnknownVenue.
    """
    captures = [open_capture(path) for path in paths]
    venues = {capture.venue(exchange, market_type) for capture in captures}
    if len(venues) != 1 or exchange not in (None, *(venue for venue, _ in venues)):
        names = ", ".join(sorted("-".join(part for part in venue if part) for venue in venues))
        raise BadCapture(", ".join(map(str, paths)), f"a replay takes one market, these files are of {names}")
    ((venue, market),) = venues
    run = Replay(feed_of(venue, market, str(paths[0])))
    for capture in captures:
        run.take(capture.entries())
        run.notes += capture.notes
    return run


def outcomes(feed: Feed, entry: Entry) -> list[Outcome]:
    """What a feed makes of an entry; of what we sent ourselves, nothing."""
    if entry.kind == "in":
        return feed.push(entry.raw, entry.ts_recv, connection=entry.connection)
    if entry.kind == "http":
        return feed.answer(entry.url, entry.raw, entry.ts_recv)
    return feed.reopened(entry.ts_recv, entry.connection) if entry.kind == "open" else []


def feed_of(exchange: Exchange | None, market_type: MarketType | None, place: str) -> Feed:
    """A feed that knows instruments by their names. Raises UnknownVenue."""
    if exchange == "okx":
        return OkxFeed(market_type, strict=False)
    if exchange == "deribit":
        return DeribitFeed(market_type, Instruments(exchange), strict=False)
    if exchange is None or market_type is None:
        raise UnknownVenue(place, "which market it is of is not said")
    return BinanceFeed(market_type, strict=False)


def _book(state: BookState) -> dict[str, Any]:
    bids, asks = state.book.top(5)
    return {
        "gaps": state.gaps,
        "applied": state.applied,
        "checksum_ok": state.checksum_ok,
        "checksum_bad": state.checksum_bad,
        "n_bids": len(state.book.bids),
        "n_asks": len(state.book.asks),
        "top5_bids": [list(level) for level in bids],
        "top5_asks": [list(level) for level in asks],
        "sha256_all_levels": state.book.sha256_all_levels(),
    }

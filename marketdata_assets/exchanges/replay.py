"""A capture through the code that live traffic goes through, and what came of it.

Nothing here looks at a clock: the same capture gives the same summary, speeds are those of the recording.
"""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec.structs import replace

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.books import BookState, Feed
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.errors import UNREADABLE, BadCapture, BadInstruments, UnknownVenue, too_many_unreadable
from marketdata_assets.exchanges.instruments import CONTRADICTORY, contradiction
from marketdata_assets.exchanges.records import (
    DeadLetter,
    Exchange,
    Gap,
    InstrumentState,
    MarketType,
    Outcome,
    Record,
    VenueError,
)
from marketdata_assets.exchanges.venue import Venue
from marketdata_assets.logs import get_logger

OVERLAP_NS = 1_000_000_000
"""A capture that begins so much before the end of the one before is of a connection beside it, not its continuation."""
log = get_logger(__name__)

KEPT_ERRORS = 20  # so many causes of dead letters and words of venues are kept for people; all are counted

OnRecord = Callable[[Record | Gap], None]
"""Takes each record and gap of a replay, in order."""


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
    on_record: OnRecord | None = None
    gaps: dict[Gap, Gap] = field(default_factory=dict)  # by the gap as it was first on record: its last state
    beside: dict[str, Feed] = field(default_factory=dict)  # of captures of other connections at the same time, by name

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
                if self.on_record and isinstance(outcome, Record | Gap):
                    self.on_record(outcome)

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
            self.gaps[replace(outcome, healed_at=None)] = outcome
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
        """Books by the venue's instrument; with its channel where an instrument has books of several, and with the file
        where it is of a connection beside the last one."""
        books = {
            f"{name} ({file})": state for file, feed in self.beside.items() for name, state in _books(feed).items()
        }
        return dict(sorted((books | _books(self.feed)).items()))

    @property
    def is_readable(self) -> bool:
        """Whether all but a few of the messages could be read."""
        return not too_many_unreadable(sum(stream.errors for stream in self.streams.values()), self.messages)

    def as_dict(self) -> dict[str, Any]:
        """The summary for machines."""
        return {
            "messages": self.messages,
            "records": self.records(),
            "errors": sum(stream.errors for stream in self.streams.values()),
            "streams": {name: self.streams[name].messages for name in sorted(self.streams)},
            "books": {name: _book(state) for name, state in self.books().items()},
            "gaps": [msgspec.to_builtins(gap) for gap in self.gaps.values()],
        }


def _books(feed: Feed) -> dict[str, BookState]:
    names = Counter(state.instrument.name for state in feed.books.values())
    return {
        state.instrument.name if names[state.instrument.name] == 1 else key: state for key, state in feed.books.items()
    }


def replay(
    paths: Sequence[Path],
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    on_record: OnRecord | None = None,
    lists: Sequence[Path] = (),
) -> Replay:
    """Push captures of one venue and market through its feed, each continuing where the one before ended.

    One that begins before the end of the one before is of another connection at the same time, and has its own feed.
    Instruments are known by `lists` of the venue, else by their names only: then sizes in base units stay null where
    contracts are traded. Raises BadCapture, BadInstruments and UnknownVenue.
    """
    captures = [open_capture(path) for path in paths]
    venues = {capture.venue(exchange, market_type) for capture in captures}
    if len(venues) != 1 or exchange not in (None, *(venue for venue, _ in venues)):
        names = ", ".join(sorted("-".join(part for part in venue if part) for venue in venues))
        raise BadCapture(", ".join(map(str, paths)), f"a replay takes one market, these files are of {names}")
    ((venue, market),) = venues
    run = Replay(feed_of(venue, market, str(paths[0]), lists), on_record=on_record)
    before = ""
    for path, capture in zip(paths, captures, strict=True):
        entries = iter(capture.entries())
        if (first := next(entries, None)) is not None:
            if run.last is not None and first.ts_recv < run.last - OVERLAP_NS:
                run.beside[before] = run.feed
                run.feed = feed_of(venue, market, str(path), lists)
                run.notes.append(f"{path.name} begins before the end of {before}: replayed as a connection beside it")
            run.take(chain([first], entries))
        run.notes += capture.notes
        before = path.name
    return run


_record = msgspec.json.Decoder[Gap | InstrumentState](Gap | InstrumentState).decode


def _recorded(entry: Entry) -> Gap | InstrumentState | DeadLetter:
    try:
        record: Gap | InstrumentState = _record(entry.raw)
        return record
    except UNREADABLE as error:
        return DeadLetter.of(entry.raw, error, entry.ts_recv)


def outcomes(feed: Feed, entry: Entry) -> list[Outcome]:
    """What a feed makes of an entry; of what we sent ourselves, nothing."""
    if entry.kind == "in":
        return feed.push(entry.raw, entry.ts_recv, connection=entry.connection)
    if entry.kind == "http":
        return feed.answer(entry.url, entry.raw, entry.ts_recv)
    if entry.kind == "checkpoint":
        return feed.restore(entry.raw, entry.ts_recv)
    if entry.kind == "record":
        return [_recorded(entry)]
    return feed.reopened(entry.ts_recv, entry.connection) if entry.kind in ("open", "closed") else []


def feed_of(exchange: Exchange | None, market_type: MarketType | None, place: str, lists: Sequence[Path] = ()) -> Feed:
    """A feed that knows the instruments of `lists`, others by their names. Raises UnknownVenue and BadInstruments."""
    if exchange is None:
        raise UnknownVenue(place, "which venue it is of is not said")
    venue = venues.find(exchange)
    if market_type is None and not venue.shared_socket:
        raise UnknownVenue(place, "which market it is of is not said")
    feed = venue.feed(market_type, strict=False)
    left = list(lists)
    while left:  # in any order: one may need another
        causes = {path: why for path in left if (why := _learn(feed, venue, market_type, path))}
        if len(causes) == len(left):
            raise BadInstruments(venue.name, f"{left[0]}: {causes[left[0]]}")
        left = list(causes)
    return feed


def _learn(feed: Feed, venue: Venue, market_type: MarketType | None, path: Path) -> str:
    """Take the instruments of a file: what REST of the venue answers to a request for its list, as it came.

    Why it has none; empty when it has some. Raises BadInstruments where it contradicts itself or a list before.
    """
    raw, causes, before = path.read_bytes().removeprefix(BOM_UTF8), list[str](), dict(feed.instruments.known)
    feed.instruments.listed.clear()
    for market in [market_type] if market_type and not venue.shared_socket else venue.markets:
        for request in venue.adapter(venue, market).listings():
            found = feed.answer(f"{request.path}?{urlencode(request.params)}", raw, 0)
            unread = [outcome.cause for outcome in found if isinstance(outcome, DeadLetter)]
            both = ((feed.instruments.known[name], before[name]) for name in feed.instruments.listed & before.keys())
            unread += filter(None, (contradiction(*two) for two in both))
            if contradictory := next((cause for cause in unread if CONTRADICTORY in cause), None):
                raise BadInstruments(venue.name, f"{path}: {contradictory}")
            if feed.instruments.listed:
                if unread:
                    log.warning("instruments_unreadable", file=path.name, entries=len(unread), first=unread[0])
                return ""
            causes += unread
    return " or ".join(dict.fromkeys(causes)) or "it is no list of instruments as REST of the venue answers it"


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

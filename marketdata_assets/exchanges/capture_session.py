"""What the live collector records beside what messages say, made of entries of captures: gaps and instrument states.

The rules are the collector's own, in `gap_tracker` and `instruments`; here is which sockets a capture had, and which
subscriptions. Captures in which the collector wrote these have no others, but where it left entries out.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.gap_tracker import NS, TAGS, WAIT_SECONDS, GapTracker, lost_since
from marketdata_assets.exchanges.instruments import Instrument, ListedStates
from marketdata_assets.exchanges.records import (
    Control,
    Gap,
    InstrumentState,
    Kline,
    Liquidation,
    MarketType,
    OrderBook,
    Outcome,
    Trade,
    VenueError,
)
from marketdata_assets.exchanges.replay import outcomes
from marketdata_assets.exchanges.venue import Source
from marketdata_assets.exchanges.venue_adapter import Request, Subscription, VenueAdapter

EVENTS = Trade, Liquidation, Kline
CHECK_NS = NS // 2  # between two looks at the streams that stay silent
LEFT_OUT, RESTARTED = "reopened", "restarted"
"""Causes of a gap of what came between two sockets, or was left out of the capture, and between two runs."""
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass
class _Socket:
    """One socket: when it delivered anything last, and each subscription by key; ns."""

    last_at: int
    seen: dict[str, int] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)
    requested: list[list[str]] = field(default_factory=list)  # keys of each request that is not answered, oldest first
    asked: set[str] = field(default_factory=set)  # keys of all requests


class CaptureSession:
    """The entries of captures that continue one another, through one feed."""

    wait = WAIT_SECONDS

    def __init__(self, feed: Feed, source: Source) -> None:
        self._feed, self._venue, self._market_type = feed, venues.find(source[0]), source[1]
        markets = [source[1]] if source[1] else [*self._venue.markets]
        self._adapters = {market: self._adapter(market) for market in markets}
        self._first = next(iter(self._adapters.values()))
        self._trackers: dict[tuple[str, bool], GapTracker] = {}  # by stream of trades, and whether they are numbered
        self._sockets: dict[int, _Socket] = {}
        self._subscriptions: dict[str, Subscription] = {}  # by key
        self._keys: dict[tuple[type, str, str, bool], str | None] = {}  # by type, instrument, interval, and form
        self._indexed = self._checked_at = 0
        self._words: dict[str, set[str]] = {}  # of the request of a subscription, by key
        self._answers = False  # whether the venue's answers to requests are among the entries
        self._lists: dict[str, ListedStates] = {}  # by request
        self._pages: dict[str, tuple[str, set[str], bool]] = {}  # by the request of the next one: what came before
        self._states: dict[str, InstrumentState] = {}  # of a checkpoint
        self._restored = False  # the states of the last one are not taken yet

    def take(self, entry: Entry, *, recorded: bool = False) -> list[Outcome]:
        """What an entry gives. With `recorded`, gaps and states are entries, and sockets without an address are those
        of which entries are missing."""
        if entry.kind == "http" and not recorded:
            return self._answer(entry)
        made = outcomes(self._feed, entry)
        if entry.kind == "in":
            gaps = self._received(entry, made)
            made += [one for one in gaps if not recorded or one.cause in (LEFT_OUT, RESTARTED)]
        elif entry.kind == "out":
            self._request(entry)
        elif entry.kind == "checkpoint":
            self._restored = True
        elif entry.kind in ("open", "closed"):
            if recorded and entry.url:
                self._sockets.pop(entry.connection, None)
            self._end(entry.connection, LEFT_OUT, entry.ts_recv if entry.kind == "closed" else 0)
            if entry.kind == "open":
                self._sockets[entry.connection] = _Socket(entry.ts_recv)
        return made

    def restarted(self, ts_recv: int) -> list[Outcome]:
        """Another run of the collector begins: the sockets of the one before it are closed."""
        for number in sorted(self._sockets):
            self._end(number, RESTARTED)
        connections = {state.connection for state in self._feed.books.values()}
        return [outcome for one in sorted(connections) for outcome in self._feed.reopened(ts_recv, one)]

    def ended(self) -> list[Gap]:
        """The gaps of streams that have stayed silent to the end of a file since they were subscribed again."""
        return [gap for tracker in self._trackers.values() for gap in tracker.overdue(sys.maxsize)]

    # Gaps.

    def _received(self, entry: Entry, made: Sequence[Outcome]) -> list[Gap]:
        now = entry.ts_recv
        socket = self._sockets.get(entry.connection) or self._sockets.setdefault(entry.connection, _Socket(now))
        socket.last_at, gaps = now, list[Gap]()
        if now - self._checked_at > CHECK_NS:
            self._checked_at = now
            gaps += [gap for tracker in self._trackers.values() if tracker.open for gap in tracker.overdue(now)]
        for one in made:
            if isinstance(one, OrderBook):
                continue  # by far the most
            if isinstance(one, EVENTS):
                key = self._key_of(one, entry.raw)
                if key is None:
                    continue
                if not (self._answers and key in socket.asked):
                    self._confirm(socket, key, now)
                socket.seen[key] = now
                if isinstance(one, Trade):
                    gaps += _gap(self._tracker(self._subscriptions[key], self._is_numbered(one)).trade(one))
                elif isinstance(one, Liquidation):
                    gaps += _gap(self._tracker(self._subscriptions[key]).first("liquidation", one))
            elif isinstance(one, Control | VenueError):
                self._answered(socket, one, now)
        return gaps

    def _end(self, number: int, cause: str, left_at: int = 0) -> None:
        """A socket ended: from its last message on, its subscriptions deliver nothing until another one has them.

        One that was left at a time (ns) was alive until then.
        """
        socket = self._sockets.pop(number, None)
        if socket is None:
            return
        for key, confirmed_at in socket.confirmed.items():
            others = [at for one, other in self._sockets.items() if one > number and (at := other.confirmed.get(key))]
            if any(at <= max(socket.last_at, left_at) for at in others):
                continue  # its replacement had taken over
            subscription = self._subscriptions[key]
            since = lost_since(socket.seen.get(key, 0), confirmed_at, socket.last_at, subscription.silence)
            for tracker in self._trackers_of(subscription):
                for instrument in self._instruments_of(subscription):
                    tracker.begin(subscription, instrument, cause, since)
                if others:
                    tracker.confirmed(key, min(others))

    def _instruments_of(self, subscription: Subscription) -> list[Instrument]:
        """Those that a subscription has something of; of a whole market, those that records were of."""
        find = self._feed.instruments.__getitem__
        if subscription.instrument:
            return [find(subscription.instrument)]
        seen = [find(name) for name in sorted({name for _, name, *_ in self._keys})]
        ours = ((one, self._adapters.get(one.market_type)) for one in seen)
        types = subscription.types
        return [
            one
            for one, adapter in ours
            if adapter and subscription.key in (each.key for each in adapter.subscriptions(one, types))
        ]

    def _confirm(self, socket: _Socket, key: str, now: int) -> None:
        if key not in socket.confirmed:
            socket.confirmed[key] = now
            for tracker in self._trackers_of(self._subscriptions[key]):
                tracker.confirmed(key, now)

    def _tracker(self, subscription: Subscription, numbered: bool | None = None) -> GapTracker:
        """The gaps of a stream of trades, numbered or not, by default as the collector has it; or of all else."""
        adapter, trades = self._first, "trade" in subscription.types
        place = (subscription.stream, adapter.sequential_trade_ids if numbered is None else numbered)
        place = place if trades else ("", False)
        if place not in self._trackers:
            find, repeats = self._feed.instruments.__getitem__, trades and adapter.repeats_trades
            self._trackers[place] = GapTracker(*place, find, self.wait, repeats=repeats)
        return self._trackers[place]

    def _trackers_of(self, subscription: Subscription) -> list[GapTracker]:
        usual = self._tracker(subscription)
        return [
            usual,
            *(one for (stream, _), one in self._trackers.items() if one is not usual and stream == subscription.stream),
        ]

    def _is_numbered(self, trade: Trade) -> bool:
        """As `unrecorded_gaps` of the tables has it."""
        sums = self._venue.trades == "numbered_aggregates" and (
            trade.market_type == "spot" or trade.first_id is not None
        )
        return self._first.sequential_trade_ids and (trade.sequence is not None or sums)

    def _request(self, entry: Entry) -> None:
        """Remember which subscriptions one of our messages requests: it names each by its key, or the parts of it."""
        text, socket = entry.raw.decode("utf-8", "replace"), self._sockets.get(entry.connection)
        if socket is None or "subscribe" not in text.lower():
            return
        if len(known := self._feed.instruments.known) != self._indexed:
            self._indexed = len(known)
            for one in known.values():
                if adapter := self._adapters.get(one.market_type):
                    types = [tag for tag in TAGS if tag in self._venue.markets[one.market_type].data_types]
                    self._remember(adapter.subscriptions(one, types))
        named = {*_QUOTED.findall(text)}
        wanted = () if "unsubscribe" in text.lower() else self._subscriptions
        keys = [key for key in wanted if named.issuperset(self._words_of(key))]
        socket.requested.append(keys)
        socket.asked.update(keys)

    def _words_of(self, key: str) -> set[str]:
        """What a request of a subscription names."""
        if key not in self._words:
            request = b" ".join(self._first.socket_session().subscribe([key])).decode()
            self._words[key] = {*_QUOTED.findall(request)}
        return self._words[key]

    def _answered(self, socket: _Socket, told: Control | VenueError, now: int) -> None:
        """A confirmation is of the subscriptions that it names, else of the oldest request, as an error is."""
        confirmed: Sequence[str] = ()
        if isinstance(told, Control) and told.kind == "ack":
            self._answers = True
            confirmed = [key for key in told.detail.split() if key in self._subscriptions]
        if socket.requested and not confirmed and (isinstance(told, VenueError) or told.kind == "ack"):
            oldest = socket.requested.pop(0)
            confirmed = () if isinstance(told, VenueError) else oldest
        for key in confirmed:
            self._confirm(socket, key, now)

    def _key_of(self, record: Trade | Liquidation | Kline, raw: bytes) -> str | None:
        """The key of the subscription that delivers a record, as this message; None where the collector has none."""
        interval = record.interval if isinstance(record, Kline) else ""
        place = type(record), record.instrument, interval, isinstance(record, Trade) and record.first_id is None
        if place not in self._keys:
            adapter, tag = self._adapters.get(record.market_type), str(record.__struct_config__.tag)
            if isinstance(record, Kline) and adapter:
                known = record.interval in self._venue.markets[record.market_type].intervals
                adapter = self._adapter(record.market_type, record.interval) if known else None
            elif isinstance(record, Trade) and adapter:
                adapter = self._adapter(record.market_type, stream=self._feed.stream_of(raw))
            found = adapter.subscriptions(self._feed.instruments[record.instrument], [tag]) if adapter else []
            self._keys[place] = next(self._remember(found), None)
        return self._keys[place]

    def _remember(self, found: Sequence[Subscription]) -> Iterator[str]:
        kept = {one.key: one for one in found}
        self._subscriptions |= kept
        return iter(kept)

    def _adapter(self, market: MarketType, *intervals: str, stream: str = "") -> VenueAdapter:
        options = {"choices": {"trade_channel": stream}} if stream else {}
        wanted = intervals or self._venue.markets[market].intervals
        return self._venue.adapter(self._venue, market, intervals=wanted, **options)

    # Instrument states.

    def _answer(self, entry: Entry) -> list[Outcome]:
        """What a response gives; a list of instruments, at its end, their states."""
        instruments = self._feed.instruments
        if self._restored:
            known, self._restored = instruments.known.values(), False
            self._states = {one.name: one.state_record(entry.ts_recv) for one in known if one.state}
        instruments.listed = set()
        made = outcomes(self._feed, entry)
        if not instruments.listed:
            return made
        parts = urlsplit(entry.url)
        request = Request(parts.path, dict(parse_qsl(parts.query)))
        first, before, whole = self._pages.pop(_name(request), (_name(request), set(), True))
        instruments.listed |= before
        instruments.whole &= whole
        if following := self._first.next_listing(request, entry.raw):
            self._pages[_name(following)] = first, instruments.listed, instruments.whole
            return made
        if first not in self._lists:
            self._lists[first] = ListedStates(self._market_type, self._of_checkpoint(instruments.listed))
        states = self._lists[first]
        return [*made, *states.changes(instruments, entry.ts_recv)]

    def _of_checkpoint(self, listed: set[str]) -> dict[str, InstrumentState]:
        """The states of a checkpoint that a list has, which is answered for the first time; the last list of all also
        has those that none has."""
        requests = {_name(one) for adapter in self._adapters.values() for one in adapter.listings()}
        last = len(self._lists) + 1 >= len(requests)
        taken = [name for name in self._states if last or name in listed]
        return {name: self._states.pop(name) for name in taken}


def _gap(verdict: Gap | bool) -> list[Gap]:
    return [verdict] if isinstance(verdict, Gap) else []


def _name(request: Request) -> str:
    return f"{request.path} {sorted((name, str(value)) for name, value in request.params.items())}"

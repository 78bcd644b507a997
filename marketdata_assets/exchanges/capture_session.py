"""What the live collector records beside what messages say, made of entries of captures: gaps and instrument states.

The rules are the collector's own, in `gap_tracker` and `instruments`; here is which sockets a capture had, and which
subscriptions. Trades that a venue numbers without gaps are left to their numbers.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.gap_tracker import NS, TAGS, GapTracker, lost_since
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
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass
class _Socket:
    """One socket: when it delivered anything last, and each subscription by key; ns."""

    last_at: int
    seen: dict[str, int] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)
    requested: list[list[str]] = field(default_factory=list)  # keys of each request that is not answered, oldest first


class CaptureSession:
    """The entries of captures that continue one another, through one feed."""

    def __init__(self, feed: Feed, source: Source) -> None:
        self._feed, self._venue, self._market_type = feed, venues.find(source[0]), source[1]
        markets = [source[1]] if source[1] else [*self._venue.markets]
        self._adapters = {market: self._adapter(market) for market in markets}
        self._first = next(iter(self._adapters.values()))
        repeats = self._first.repeats_trades
        self._tracker = GapTracker("", False, feed.instruments.__getitem__, repeats=repeats)
        self._sockets: dict[int, _Socket] = {}
        self._subscriptions: dict[str, Subscription] = {}  # by key
        self._keys: dict[tuple[type, str, str], str | None] = {}  # by record type, instrument and interval
        self._indexed = self._checked_at = 0
        self._lists: dict[str, ListedStates] = {}  # by request
        self._pages: dict[str, tuple[str, set[str], bool]] = {}  # by the request of the next one: what came before
        self._states: dict[str, InstrumentState] = {}  # of a checkpoint
        self._restored = False  # the states of the last one are not taken yet

    def take(self, entry: Entry) -> list[Outcome]:
        """What an entry gives."""
        if entry.kind == "http":
            return self._answer(entry)
        made = outcomes(self._feed, entry)
        if entry.kind == "in":
            made += self._received(entry, made)
        elif entry.kind == "out":
            self._request(entry)
        elif entry.kind == "checkpoint":
            self._restored = True
        else:
            self._end(entry.connection, "reopened", entry.ts_recv if entry.kind == "closed" else 0)
            if entry.kind == "open":
                self._sockets[entry.connection] = _Socket(entry.ts_recv)
        return made

    def restarted(self, ts_recv: int) -> list[Outcome]:
        """Another run of the collector begins: the sockets of the one before it are closed."""
        for number in sorted(self._sockets):
            self._end(number, "restarted")
        connections = {state.connection for state in self._feed.books.values()}
        return [outcome for one in sorted(connections) for outcome in self._feed.reopened(ts_recv, one)]

    def ended(self) -> list[Gap]:
        """The gaps of streams that have stayed silent to the end of a file since they were subscribed again."""
        return self._tracker.overdue(sys.maxsize)

    # Gaps.

    def _received(self, entry: Entry, made: Sequence[Outcome]) -> list[Gap]:
        now = entry.ts_recv
        socket = self._sockets.get(entry.connection) or self._sockets.setdefault(entry.connection, _Socket(now))
        socket.last_at, gaps = now, list[Gap]()
        for one in made:
            if isinstance(one, OrderBook):
                continue  # by far the most
            if isinstance(one, EVENTS):
                key = self._key_of(one)
                if key is None:
                    continue
                self._confirm(socket, key, now)
                socket.seen[key] = now
                if isinstance(one, Trade):
                    gaps += _gap(self._tracker.trade(one))
                elif isinstance(one, Liquidation):
                    gaps += _gap(self._tracker.first("liquidation", one))
            elif isinstance(one, Control | VenueError):
                self._answered(socket, one, now)
        if self._tracker.open and now - self._checked_at > CHECK_NS:
            self._checked_at = now
            gaps += self._tracker.overdue(now)
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
            for instrument in self._instruments_of(subscription):
                self._tracker.begin(subscription, instrument, cause, since)
            if others:
                self._tracker.confirmed(key, min(others))

    def _instruments_of(self, subscription: Subscription) -> list[Instrument]:
        """Those that a subscription has something of; of a whole market, those that records were of."""
        find = self._feed.instruments.__getitem__
        if subscription.instrument:
            return [find(subscription.instrument)]
        seen = [find(name) for name in sorted({name for _, name, _ in self._keys})]
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
            self._tracker.confirmed(key, now)

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
                    self._remember(adapter, adapter.subscriptions(one, types))
        named = set(_QUOTED.findall(text))
        wanted = () if "unsubscribe" in text.lower() else self._subscriptions
        socket.requested.append([key for key in wanted if named.issuperset(key.split(":", 1))])

    def _answered(self, socket: _Socket, told: Control | VenueError, now: int) -> None:
        """A confirmation is of the subscriptions that it names, else of the oldest request, as an error is."""
        confirmed: Sequence[str] = ()
        if isinstance(told, Control) and told.kind == "ack":
            words = set(told.detail.split())
            confirmed = [key for keys in socket.requested for key in keys if key in words]
        if socket.requested and not confirmed and (isinstance(told, VenueError) or told.kind == "ack"):
            oldest = socket.requested.pop(0)
            confirmed = () if isinstance(told, VenueError) else oldest
        for key in confirmed:
            self._confirm(socket, key, now)

    def _key_of(self, record: Trade | Liquidation | Kline) -> str | None:
        """The key of the subscription that delivers a record; None where the collector has none, or numbers do."""
        place = type(record), record.instrument, record.interval if isinstance(record, Kline) else ""
        if place not in self._keys:
            adapter, tag = self._adapters.get(record.market_type), str(record.__struct_config__.tag)
            if isinstance(record, Kline) and adapter:
                known = record.interval in self._venue.markets[record.market_type].intervals
                adapter = self._adapter(record.market_type, record.interval) if known else None
            found = adapter.subscriptions(self._feed.instruments[record.instrument], [tag]) if adapter else []
            self._keys[place] = next(self._remember(adapter, found), None) if adapter else None
        return self._keys[place]

    def _remember(self, adapter: VenueAdapter, found: Sequence[Subscription]) -> Iterator[str]:
        kept = {one.key: one for one in found if not ("trade" in one.types and adapter.sequential_trade_ids)}
        self._subscriptions |= kept
        return iter(kept)

    def _adapter(self, market: MarketType, *intervals: str) -> VenueAdapter:
        return self._venue.adapter(self._venue, market, intervals=intervals or self._venue.markets[market].intervals)

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
        states = self._lists.setdefault(first, ListedStates(self._market_type, dict(self._states)))
        return [*made, *states.changes(instruments, entry.ts_recv)]


def _gap(verdict: Gap | bool) -> list[Gap]:
    return [verdict] if isinstance(verdict, Gap) else []


def _name(request: Request) -> str:
    return f"{request.path} {sorted((name, str(value)) for name, value in request.params.items())}"

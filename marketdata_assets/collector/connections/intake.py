"""What comes over the sockets of one market, on its way to whoever asked for it. All of this is the hot path.

Records of instruments that nobody follows, and repeats of an overlap, end here; gaps of trades begin here.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from marketdata_assets.collector.connections import watch
from marketdata_assets.collector.connections.connection import Connection
from marketdata_assets.collector.connections.holes import TAGS, Holes
from marketdata_assets.collector.connections.repeats import Repeats
from marketdata_assets.collector.connections.socket import Socket
from marketdata_assets.collector.connections.speaking import Feed, Speaker, Subscription
from marketdata_assets.collector.connections.timing import Timing
from marketdata_assets.collector.items import TAGS as TYPES
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    AnyRecord,
    DeadLetter,
    Gap,
    Liquidation,
    OrderBook,
    Outcome,
    Trade,
    VenueError,
)

NS = 1_000_000_000

UNREAD = 5.0
"""Seconds that messages may have waited for us to read them."""

OnRecords = Callable[[list[AnyRecord | Gap]], None]
OnTrouble = Callable[[DeadLetter | VenueError], None]
OnWire = Callable[[Entry], None]


class Intake:
    """What all connections of a market tell what happens to them."""

    def __init__(
        self,
        speaker: Speaker,
        feed: Feed,
        timing: Timing,
        data_types: Sequence[str],
        on_records: OnRecords,
        on_trouble: OnTrouble | None,
        on_wire: OnWire | None,
    ) -> None:
        self.names: dict[str, Instrument] = {}  # that are followed
        self.subscribed: dict[str, tuple[Connection, Subscription]] = {}  # by key
        self.repeats = Repeats(timing.repeats)
        self.holes = Holes(speaker.trades, speaker.numbered, feed.instruments.__getitem__, timing.hole)
        self.dead_letters = self.venue_errors = self.gaps = 0
        self._speaker, self._feed, self._timing = speaker, feed, timing
        self._wanted = {kind for kind, tag in TYPES.items() if tag in data_types or kind is Gap}
        self._on_records, self._on_trouble, self._on_wire = on_records, on_trouble, on_wire
        self._numbers = count(1)

    def take(self, socket: Socket, raws: list[bytes], now: int) -> None:
        """The messages of one read."""
        if self._on_wire:
            for raw in raws:
                self._on_wire(Entry(now, "in", raw, socket.number, socket.url))
        begin, key_of, seen, muted = self._speaker.begin, self._speaker.key_of, socket.seen, socket.muted
        data: list[bytes] = []
        for raw in raws:
            if raw.startswith(begin):
                key = key_of(raw)
                if muted and key in muted:
                    continue
                seen[key] = now
                data.append(raw)
            else:
                if data:
                    self.told(self._feed.push_all(data, now, socket.number), now, socket)
                    data = []
                self._answered(socket, raw, now)
        if data:
            self.told(self._feed.push_all(data, now, socket.number), now, socket)
        if socket.elder and self._speaker.books_hang:
            self._mute(socket.elder, seen)

    def told(self, outcomes: Iterable[Outcome], now: int, socket: Socket | None = None) -> None:
        """Give out what a feed made."""
        made: list[AnyRecord | Gap] = []
        add, wanted, names, holes = made.append, self._wanted, self.names, self.holes
        trade, watching = holes.trade, self.repeats.watching(now)
        for one in outcomes:
            kind = type(one)
            if kind not in wanted:
                if kind is DeadLetter or kind is VenueError:
                    self._trouble(one, made, socket)  # type: ignore[arg-type]
                continue
            if one.instrument not in names:  # type: ignore[union-attr]
                continue
            if kind is not OrderBook and kind is not Gap:
                if watching and self.repeats.has(one):  # type: ignore[arg-type]
                    continue
                verdict: Gap | bool = True
                if kind is Trade:
                    verdict = trade(one)  # type: ignore[arg-type]
                elif kind is Liquidation and holes.open:
                    verdict = holes.first("liquidation", one)  # type: ignore[arg-type]
                if verdict is not True:
                    if verdict is False:
                        self.repeats.dropped += 1
                        continue
                    add(verdict)
                    self.gaps += verdict.healed_at is None
            elif kind is Gap:
                self.gaps += one.healed_at is None  # type: ignore[union-attr]
            add(one)  # type: ignore[arg-type]
        if made:
            if socket:
                socket.bad = 0
            self._on_records(made)

    def look(self, now: int) -> None:
        """Tell of the holes that nothing came behind."""
        self._give(self.holes.overdue(now))

    # What connections tell.

    def number(self) -> int:
        return next(self._numbers)

    def said(self, socket: Socket, raw: bytes) -> None:
        if self._on_wire:
            self._on_wire(Entry(time.time_ns(), "out", raw, socket.number, socket.url))

    def opened(self, socket: Socket) -> None:
        if self._on_wire:
            self._on_wire(Entry(socket.opened_at, "open", b"", socket.number, socket.url))

    def lost(self, connection: Connection, socket: Socket, heir: Socket | None) -> None:
        """Books on the socket are in doubt, and trades may be missing from its last message on."""
        now = time.time_ns()
        covered = set()
        for key, one in (heir.asked if heir else {}).items():
            if 0 < one.confirmed <= socket.last_at:
                covered.add(key)
        if self._speaker.books_hang or covered != connection.subscriptions.keys():
            self.told(self._feed.reopened(now, socket.number), now)
        heard = watch.last_heard(connection, socket)
        for key, subscription in connection.subscriptions.items():
            asked = socket.asked.get(key)
            if key in covered or asked is None or not asked.confirmed:
                continue
            silence = watch.normal_silence(connection, subscription)
            unnoticed = int((UNREAD if silence is None else silence) * NS)
            since = max(heard.get(key, 0), asked.confirmed, socket.last_at - unnoticed)
            self.begin(subscription, "reopened", min(since, watch.suspected(connection, key) or since))
            later = heir.asked.get(key) if heir else None
            if later and later.confirmed:
                self.holes.confirmed(key, later.confirmed)

    def heir_lost(self, elder: Socket | None, socket: Socket) -> None:
        """A socket that was to take over did not come so far: books may hang on it."""
        now = time.time_ns()
        if elder:
            elder.muted.clear()
        if self._speaker.books_hang:
            self.told(self._feed.reopened(now, socket.number), now)

    def replacing(self, connection: Connection) -> None:
        timing, now = self._timing, time.time_ns()
        span = 3 * timing.repeats + timing.overlap + timing.goodbye + timing.connect
        self.repeats.watch(now, now + int(span * NS))

    def replaced(self, connection: Connection, old: Socket) -> None:
        """Books that did not move over to the new socket get no more from the old one."""
        if self._speaker.books_hang:
            now = time.time_ns()
            self.told(self._feed.reopened(now, old.number), now)

    def woken(self, subscription: Subscription, since: int, until: int) -> None:
        """A subscription that was silent brings something since it was made anew."""
        tagged = any(tag in subscription.types for tag in TAGS)
        for one in self._of(subscription) if tagged else ():
            gap = self.holes.silent(subscription, one, since, until)
            self._give([gap] if gap else [])

    def begin(self, subscription: Subscription, cause: str, since: int) -> None:
        """From `since` on, messages of a subscription may be missing."""
        tag = next((tag for tag in TAGS if tag in subscription.types), None)
        for one in self._of(subscription) if tag else ():
            self.holes.begin(subscription, tag or "", one, cause, since)

    def _of(self, subscription: Subscription) -> list[Instrument]:
        """The instruments that are followed and that a subscription is about."""
        if not subscription.instrument:
            return list(self.names.values())
        named = self.names.get(subscription.instrument)
        return [] if named is None else [named]

    def _answered(self, socket: Socket, raw: bytes, now: int) -> None:
        """A message that carries no data."""
        outcomes = self._feed.push(raw, now, socket.number)
        heard = socket.talk.heard(raw, outcomes)
        for key in heard.confirmed:
            asked = socket.asked.get(key)
            if asked and not asked.confirmed:
                asked.confirmed, asked.refused = now, ""
                self.holes.confirmed(key, now)
        for key, why in heard.refused:
            if key in socket.asked:
                socket.asked[key].refused = why
        for key in heard.again:
            if key in socket.asked:
                socket.asked[key].at = now
        if heard.reply:
            socket.say([heard.reply])
        if heard.leave:
            for connection in {one for one, _ in self.subscribed.values() if one.socket is socket}:
                connection.replace(heard.leave)
        self.told(outcomes, now, socket)

    def _trouble(self, one: DeadLetter | VenueError, made: list[AnyRecord | Gap], socket: Socket | None) -> None:
        if isinstance(one, DeadLetter):
            self.dead_letters += 1
            if socket:
                socket.bad += 1
                made += self._unread(one)
        else:
            self.venue_errors += 1
        if self._on_trouble:
            self._on_trouble(one)

    def _unread(self, letter: DeadLetter) -> list[Gap]:
        """What is missing when a message of trades could not be read."""
        speaker = self._speaker
        if not letter.raw.startswith(speaker.begin):
            return []
        key = speaker.key_of(letter.raw)
        _, subscription = self.subscribed.get(speaker.name_of(key), (None, None))
        if subscription is None or "trade" not in subscription.types or subscription.instrument not in self.names:
            return []
        gap = self.holes.unreadable(self.names[subscription.instrument], letter.ts_recv)
        self.gaps += gap is not None
        return [gap] if gap else []

    def _mute(self, elder: Socket, seen: Iterable[bytes]) -> None:
        """Books that the new socket has begun with are not taken from the old one any more."""
        for key in seen:
            if key not in elder.muted:
                _, subscription = self.subscribed.get(self._speaker.name_of(key), (None, None))
                if subscription and "orderbook" in subscription.types:
                    elder.muted.add(key)

    def _give(self, gaps: Sequence[Gap]) -> None:
        if gaps:
            self.gaps += len(gaps)
            self._on_records(list(gaps))

"""Dispatch what arrives over the sockets of one market to the callbacks of its owner. All of this is the hot path.

Records of instruments that nobody follows, and duplicates of overlapping sockets, end here; gaps of trades begin here.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count

import msgspec

from marketdata_assets.collector.connections import liveness
from marketdata_assets.collector.connections.clock import Clock
from marketdata_assets.collector.connections.connection import NS, Connection, Timing
from marketdata_assets.collector.connections.socket import Socket
from marketdata_assets.collector.counters import MarketCounters
from marketdata_assets.collector.items import TAGS as TYPES
from marketdata_assets.collector.items import message_id
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.gap_tracker import GapTracker, lost_since, tag_of
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    AnyRecord,
    DeadLetter,
    Gap,
    InstrumentState,
    Liquidation,
    OrderBook,
    Outcome,
    Trade,
    VenueError,
)
from marketdata_assets.exchanges.venue_adapter import Subscription, VenueAdapter
from marketdata_assets.logs import get_logger

log = get_logger(__name__)

OnRecords = Callable[[list[AnyRecord | Gap]], None]
OnError = Callable[[DeadLetter | VenueError], None]
OnEntry = Callable[[Entry], None]


class OverlapDedup:
    """Drops records that two overlapping sockets deliver twice.

    Ids are kept for two generations of `seconds`, and only during overlaps; otherwise the sinks deduplicate by the same
    ids.
    """

    def __init__(self, seconds: float) -> None:
        self.dropped = 0
        self._span = int(seconds * NS)
        self._until = 0
        self._rotated = 0
        self._new: set[str] = set()
        self._old: set[str] = set()

    def watch(self, now: int, until: int) -> None:
        """Check for duplicates until then; steady ns."""
        if now > self._until:
            self._rotated = now
        self._until = max(self._until, until)

    def is_watching(self, now: int) -> bool:
        """Whether records have to be checked."""
        if now <= self._until:
            return True
        if self._new or self._old:
            self._new, self._old = set(), set()
        return False

    def is_duplicate(self, record: AnyRecord, now: int) -> bool:
        """Whether the record arrived before; from now on it did."""
        if now - self._rotated > self._span:
            self._old, self._new, self._rotated = self._new, set(), now
        name = message_id(record)
        if name in self._new or name in self._old:
            self.dropped += 1
            return True
        self._new.add(name)
        return False


class Dispatcher:
    """Receives the events of all connections of a market."""

    def __init__(
        self,
        adapter: VenueAdapter,
        feed: Feed,
        timing: Timing,
        data_types: Sequence[str],
        on_records: OnRecords,
        on_error: OnError | None,
        on_entry: OnEntry | None,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self.followed: dict[str, Instrument] = {}  # by the venue's name
        self.subscribed: dict[str, tuple[Connection, Subscription]] = {}  # by key
        self.dedup = OverlapDedup(timing.repeats)
        self.gap_tracker = GapTracker(
            adapter.trade_stream,
            adapter.sequential_trade_ids,
            feed.instruments.__getitem__,
            timing.hole,
            repeats=adapter.repeats_trades,
            shown=clock.shown,
        )
        self.books_missed: dict[str, tuple[str, str, int]] = {}  # by instrument: stream, cause, and since when (ns)
        self.counters = MarketCounters()
        self._adapter, self._feed, self._timing = adapter, feed, timing
        self._wanted = {kind for kind, tag in TYPES.items() if tag in data_types or kind is Gap}
        self._on_records, self._on_error, self._on_entry = on_records, on_error, on_entry
        self._numbers = count(1)

    def take(self, socket: Socket, raws: list[bytes], now: int) -> None:
        if self._on_entry:
            for raw in raws:
                self._on_entry(Entry(now, "in", raw, socket.number, socket.url))
        prefix, channel_of, seen, muted = self._adapter.data_prefix, self._adapter.channel_of, socket.seen, socket.muted
        data: list[bytes] = []
        at = self.clock.steady(now)
        for raw in raws:
            if raw.startswith(prefix):
                channel = channel_of(raw)
                if muted and channel in muted:
                    continue
                if channel in seen or self._subscription_of(channel):
                    seen[channel] = at
                    data.append(raw)
                    continue
            if data:
                self.emit(self._feed.push_all(data, now, socket.number), socket)
                data = []
            self._control(socket, raw, now, at)  # as Binance's announcement of a shutdown, in a stream of its own
        if data:
            self.emit(self._feed.push_all(data, now, socket.number), socket)
        if socket.predecessor and self._adapter.book_per_socket:
            # Ignore books of the old socket that the new one already delivers.
            for channel in seen.keys() - socket.predecessor.muted:
                subscription = self._subscription_of(channel)
                if subscription and "orderbook" in subscription.types:
                    socket.predecessor.muted.add(channel)

    def emit(self, outcomes: Iterable[Outcome], socket: Socket | None = None) -> None:
        """Pass on what a feed made: records and gaps to `on_records`, the rest to `on_error`."""
        records: list[AnyRecord | Gap] = []
        add, wanted, followed, tracker = records.append, self._wanted, self.followed, self.gap_tracker
        now = self.clock.steady_ns()
        trade, overlapping = tracker.trade, self.dedup.is_watching(now)
        for outcome in outcomes:
            kind = type(outcome)
            if kind not in wanted:
                if kind is DeadLetter or kind is VenueError:
                    self._error(outcome, records, socket)  # type: ignore[arg-type]
                continue
            if outcome.instrument not in followed:  # type: ignore[union-attr]
                continue
            if kind is OrderBook:
                if self.books_missed and outcome.kind == "snapshot":  # type: ignore[union-attr]
                    records += self._noted(self._missed(outcome))  # type: ignore[arg-type]
            elif kind is not Gap:
                if overlapping and self.dedup.is_duplicate(outcome, now):  # type: ignore[arg-type]
                    continue
                verdict: Gap | bool = True
                if kind is Trade:
                    verdict = trade(outcome)  # type: ignore[arg-type]
                elif kind is Liquidation and tracker.open:
                    verdict = tracker.first("liquidation", outcome)  # type: ignore[arg-type]
                if verdict is not True:
                    if verdict is False:
                        self.dedup.dropped += 1
                        continue
                    records += self._noted([verdict])
            add(outcome)  # type: ignore[arg-type]
        if records:
            if socket:
                socket.unreadable = 0
            self.counters.count(records)
            try:
                self._on_records(records)
            except Exception:
                self.gap_tracker.undelivered(records)
                raise

    def check(self, now: int) -> None:
        """Emit the gaps of streams that stayed silent after a reconnect; `now` is steady."""
        self._emit_gaps(self.gap_tracker.overdue(now))

    # Events of connections.

    def number(self) -> int:
        """A number that no socket has had."""
        return next(self._numbers)

    def sent(self, socket: Socket, raw: bytes) -> None:
        if self._on_entry:
            self._on_entry(Entry(self.clock.time_ns(), "out", raw, socket.number, socket.url))

    def opened(self, socket: Socket) -> None:
        if self._on_entry:
            self._on_entry(Entry(self.clock.shown(socket.opened_at), "open", b"", socket.number, socket.url))

    def lost(self, connection: Connection, socket: Socket, replacement: Socket | None) -> None:
        """A socket ended: its books are out of sync, and trades may be missing from its last message on.

        `replacement` was about to take over.
        """
        requests = replacement.requests if replacement else {}
        covered = {key for key, request in requests.items() if 0 < request.confirmed_at <= socket.last_at}
        if self._adapter.book_per_socket or covered != connection.subscriptions.keys():
            self._out_of_sync(socket)
        seen = liveness.last_seen(connection, socket)
        for key, subscription in connection.subscriptions.items():
            before = socket.requests.get(key)
            if key in covered or before is None or not before.confirmed_at:
                continue
            silence = liveness.normal_silence(connection, subscription)
            since = lost_since(seen.get(key, 0), before.confirmed_at, socket.last_at, silence)
            since = min(since, liveness.clear_suspicion(connection, key) or since)
            self.begin_gap(subscription, "reopened", self.clock.earliest(since))
            later = replacement.requests.get(key) if replacement else None
            if later and later.confirmed_at:
                self.gap_tracker.confirmed(key, later.confirmed_at)

    def replacement_lost(self, predecessor: Socket | None, socket: Socket) -> None:
        """A socket ended before it took over: its books are out of sync."""
        if predecessor:
            predecessor.muted.clear()
        if self._adapter.book_per_socket:
            self._out_of_sync(socket)

    def replacing(self) -> None:
        """From now on two sockets may deliver the same."""
        timing, now = self._timing, self.clock.steady_ns()
        span = 3 * timing.repeats + timing.overlap + timing.goodbye + timing.connect
        self.dedup.watch(now, now + int(span * NS))

    def replaced(self, old: Socket) -> None:
        """Another socket took over: books that did not move to it get no more updates."""
        if self._adapter.book_per_socket:
            self._out_of_sync(old)

    def _out_of_sync(self, socket: Socket) -> None:
        """Invalidate the books of a socket that delivers no more of them."""
        now = self.clock.time_ns()
        if self._on_entry:
            self._on_entry(Entry(now, "closed", b"", socket.number, socket.url))
        self.emit(self._feed.reopened(now, socket.number))

    def woken(self, subscription: Subscription, since: int, until: int) -> bool:
        """A silent subscription delivers again after a restart; steady ns. False: it only repeated what is known."""
        since, until = self.clock.earliest(since), self.clock.shown(until)
        if self.gap_tracker.is_continued(subscription, since):
            return False
        for instrument in self._instruments_of(subscription) if tag_of(subscription) else ():
            gap = self.gap_tracker.silent(subscription, instrument, since, until)
            self._emit_gaps([gap] if gap else [])
        return True

    def watermark(self) -> int | None:
        """Start of the oldest gap that was not emitted yet; ns."""
        moments = [since for *_, since in self.books_missed.values()]
        if (tracked := self.gap_tracker.watermark()) is not None:
            moments.append(tracked)
        return min(moments, default=None)

    def begin_book_gap(self, subscription: Subscription, cause: str, since: int) -> None:
        """From `since` (ns) on, a book was not collected; its first snapshot ends that."""
        for instrument in self._instruments_of(subscription) if "orderbook" in subscription.types else ():
            self.books_missed[instrument.name] = subscription.stream, cause, since

    def _missed(self, snapshot: OrderBook) -> list[Gap]:
        stream, cause, since = self.books_missed.pop(snapshot.instrument, ("", "", 0))
        if not stream:
            return []
        instrument, now = self.followed[snapshot.instrument], snapshot.ts_recv
        return [Gap(*instrument.key, stream, None, snapshot.last_id, min(since, now), now, cause, now)]

    def unfollow(self, name: str, now: int) -> None:
        """Take no more records of an instrument; what may be missing of it until then becomes gaps."""
        instrument = self.followed.pop(name)
        until = min(now, instrument.expires_at or now)
        gaps = self.gap_tracker.forget(name, until)
        if missed := self.books_missed.pop(name, None):
            stream, cause, since = missed
            if since < until:
                gaps.append(Gap(*instrument.key, stream, None, None, since, until, cause))
        self._emit_gaps(gaps)

    def begin_gap(self, subscription: Subscription, cause: str, since: int) -> None:
        """From `since` (ns) on, messages of a subscription may be missing."""
        for instrument in self._instruments_of(subscription):
            self.gap_tracker.begin(subscription, instrument, cause, since)

    def _instruments_of(self, subscription: Subscription) -> list[Instrument]:
        if not subscription.instrument:
            return list(self.followed.values())
        instrument = self.followed.get(subscription.instrument)
        return [] if instrument is None else [instrument]

    def _control(self, socket: Socket, raw: bytes, now: int, at: int) -> None:
        outcomes = self._feed.push(raw, now, socket.number)
        reply = socket.session.read_reply(raw, outcomes)
        for key in reply.confirmed:
            request = socket.requests.get(key)
            if request and not request.confirmed_at:
                request.confirmed_at, request.rejected = at, ""
                self.gap_tracker.confirmed(key, at)
        for key, why in reply.rejected:
            if key in socket.requests:
                log.warning("subscription_rejected", subscription=key, url=socket.url, reason=why)
                socket.requests[key].rejected = why
        for key in reply.retry:
            if key in socket.requests:
                socket.requests[key].requested_at = at
        if reply.reply:
            socket.say([reply.reply])
        if reply.leave:
            for connection in {one for one, _ in self.subscribed.values() if one.socket is socket}:
                connection.replace(reply.leave)
        self.emit(outcomes, socket)

    def _error(self, error: DeadLetter | VenueError, records: list[AnyRecord | Gap], socket: Socket | None) -> None:
        self.counters.count_error(error)
        if isinstance(error, DeadLetter) and socket:
            socket.unreadable += 1
            records += self._noted(self._gap_of(error))
        if self._on_error:
            self._on_error(error)

    def _gap_of(self, letter: DeadLetter) -> list[Gap]:
        """What is missing when a message of trades could not be read; one cut before its name may be of any."""
        if not letter.raw.startswith(self._adapter.data_prefix):
            return []
        key = self._adapter.key_of(self._adapter.channel_of(letter.raw))
        names = [
            one.instrument
            for _, one in self.subscribed.values()
            if "trade" in one.types and key in (one.key, f"{one.stream}:") and one.instrument in self.followed
        ]
        gaps = (self.gap_tracker.unreadable(self.followed[name], letter.ts_recv) for name in names)
        return [gap for gap in gaps if gap]

    def _subscription_of(self, channel: bytes) -> Subscription | None:
        return self.subscribed.get(self._adapter.key_of(channel), (None, None))[1]

    def emit_states(self, states: Sequence[InstrumentState]) -> None:
        """Pass on what a list says, also of instruments that are not followed."""
        if states and InstrumentState in self._wanted:
            self.counters.count(states)
            self._on_records(self._noted(states))

    def _emit_gaps(self, gaps: Sequence[Gap]) -> None:
        if gaps:
            self.counters.count(gaps)
            self._on_records(self._noted(gaps))

    def _noted(self, records: Sequence[Gap | InstrumentState]) -> list[AnyRecord | Gap]:
        """These records, which no message makes, as entries too."""
        for record in records if self._on_entry else ():
            self._on_entry(Entry(self.clock.time_ns(), "record", msgspec.json.encode(record)))  # type: ignore[misc]
        return [*records]

"""What a stream deleted before it was loaded, as gaps; and how far it is loaded, from which that is known.

A stream deletes its oldest messages when it reaches a limit, loaded or not, and moves its consumers past them: they
do not show. So the drain keeps its own positions beside the rows, and compares them with the first message of the
stream before it acks anything.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from nats.aio.client import Client as NatsClient

from marketdata_assets.collector.jetstream import inspection
from marketdata_assets.collector.jetstream.inspection import StreamState
from marketdata_assets.collector.jetstream.reader import Batch
from marketdata_assets.collector.jetstream.stream import consumers
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables import stream_positions
from marketdata_assets.exchanges.tables.gaps import DISCARDED, loss_streams
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.exchanges.tables.stream_positions import Market, Position
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.logs import get_logger
from marketdata_assets.stores.clients import Client

BOOK = "orderbook"
WITHOUT_BASE = "orderbook without base"
"""The type of a position of an instrument whose changes have no snapshot yet; `ts` is since when, or 0."""

GAP = "gap"
"""The type that reports what is missing of all others: losing it makes all of them suspect."""

log = get_logger(__name__)


class _Where(msgspec.Struct, frozen=True):
    """What is needed of a record, or of a gap, which has `ts_to`."""

    exchange: str
    market_type: str
    symbol: str
    instrument: str
    ts_recv: int = 0
    ts_to: int = 0
    kind: str = ""  # of a book

    @property
    def market(self) -> Market:
        return Market(self.exchange, self.market_type, self.symbol, self.instrument)  # type: ignore[arg-type]


_where = msgspec.json.Decoder(_Where)


def _decoded(payload: bytes) -> _Where | None:
    """None for a message that is in quarantine."""
    try:
        return _where.decode(payload)
    except NOT_JSON:
        return None


@dataclass
class _Loaded:
    """One type: every message up to `sequence`, stored at `ts` (ns), is loaded or in a recorded gap.

    `last` has by instrument the last message that is, with its receive time: it may have been in a spool for long.
    """

    sequence: int
    ts: int
    last: dict[Market, Position] = field(default_factory=dict)
    unsaved: set[Market | None] = field(default_factory=set)


class StreamLosses:
    """The positions of one drain of a stream, and the gaps of what it can no longer load."""

    def __init__(self, client: Client, nats: NatsClient, stream: str, created: int) -> None:
        self.gaps = 0
        self._client, self._nats, self._stream, self._created = client, nats, stream, created
        self._types: dict[str, _Loaded] = {}
        # Since when (ns) books have changes without a whole book before; under None, of instruments not seen before.
        self._without_base: dict[Market | None, int] = {}
        self._unsaved_bases: dict[Market | None, int] = {}
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, client: Client, nats: NatsClient, stream: str, types: Sequence[str]) -> "StreamLosses":
        """Read the positions, and record as gaps what was deleted since. Raises StreamMissing, StoreAway, StoreFull."""
        state = await inspection.stream_state(nats, stream)
        losses = cls(client, nats, stream, state.created)
        created, positions = await asyncio.to_thread(stream_positions.read, client, stream)
        replaced = created not in (None, state.created)
        if BOOK in types:
            losses._without_base = {one.market: one.ts for one in positions if one.type == WITHOUT_BASE and one.ts}
        for name in types:
            losses._types[name] = await losses._loaded(name, [one for one in positions if one.type == name], replaced)
        await losses._record(types, state, replaced)
        await losses.save()
        return losses

    async def record(self, name: str) -> None:
        """Record what was deleted of a type since it was last loaded, or recorded; before `loaded` and the ack."""
        await self._record([name], await inspection.stream_state(self._nats, self._stream))

    async def books_loaded(self, batch: Batch) -> None:
        """Record as gaps the changes of books after a loss, up to the next whole book; before `loaded` and the ack."""
        since, last = self._without_base, self._types[BOOK].last
        if not since:
            return
        first = {message.subject: message for message in reversed(batch.messages)}
        subjects = {
            subject
            for subject, message in first.items()
            if (where := _decoded(message.payload)) and (where.market in since or where.market not in last)
        }
        received: dict[Market, list[_Where]] = {}
        for message in batch.messages if subjects else ():
            if message.subject in subjects and (where := _decoded(message.payload)):
                received.setdefault(where.market, []).append(where)
        gaps = []
        for market, records in received.items():
            begin = since.pop(market, None) or min(since[None], records[0].ts_recv)
            whole = [one.ts_recv for one in records if one.kind != "delta" and one.ts_recv >= begin]
            end = min(whole) if whole else max(begin, *(one.ts_recv for one in records))
            self._unsaved_bases[market] = 0 if whole else end
            if not whole:
                since[market] = end
            if end > begin:
                gaps.append(Gap(*market.key, BOOK, None, None, begin, end, DISCARDED))
        await asyncio.to_thread(insert_records, self._client, gaps)
        self.gaps += len(gaps)

    def loaded(self, name: str, batch: Batch) -> None:
        """Note the messages of a batch, whose rows are in the table, and that no older ones are outstanding."""
        loaded = self._types[name]
        for message in {message.subject: message for message in batch.messages}.values():
            if where := _decoded(message.payload):
                ts = where.ts_to if name == GAP else where.ts_recv
                loaded.last[where.market] = Position(name, where.market, batch.last, ts)
                loaded.unsaved.add(where.market)
        self.caught_up(name, batch.last, batch.stored)

    def caught_up(self, name: str, sequence: int, stored: int) -> None:
        """Every message of a type up to a sequence, stored at `stored` (ns), is loaded."""
        loaded = self._types[name]
        if sequence > loaded.sequence:
            loaded.sequence, loaded.ts = sequence, stored
            loaded.unsaved.add(None)

    async def save(self) -> None:
        """Write the positions that are new. Raises StoreAway, StoreFull."""
        new = [
            loaded.last[market] if market else Position(name, None, loaded.sequence, loaded.ts)
            for name, loaded in self._types.items()
            for market in loaded.unsaved
        ]
        new += [Position(WITHOUT_BASE, market, 0, since) for market, since in self._unsaved_bases.items()]
        self._unsaved_bases.clear()
        for loaded in self._types.values():
            loaded.unsaved.clear()
        await asyncio.to_thread(stream_positions.write, self._client, self._stream, self._created, new)

    async def _loaded(self, name: str, positions: Iterable[Position], replaced: bool) -> _Loaded:
        """Where a type starts: at its position, else where the server has its consumer, which may never have read."""
        last = {one.market: one for one in positions if one.market}
        if whole := next((one for one in positions if one.market is None), None):
            return _Loaded(0 if replaced else whole.sequence, whole.ts, last)
        state = await inspection.consumer_state(self._nats, self._stream, consumers()[name].name)
        sequence = state.done if state.delivered_count else 0
        return _Loaded(sequence, state.created, last, {None})

    async def _record(self, types: Sequence[str], state: StreamState, replaced: bool = False) -> None:
        async with self._turn:
            lost = {name for name in types if replaced or state.first > self._types[name].sequence + 1}
            if not lost:
                return
            doubtful = [name for name in consumers() if name != GAP and (name in lost or GAP in lost)]
            found = [await self._gaps(name, state, GAP in lost) for name in doubtful]
            gaps = [gap for of_type, _ in found for gap in of_type]
            await asyncio.to_thread(insert_records, self._client, gaps)
            self.gaps += len(gaps)
            if gaps:
                log.error(
                    "stream_data_lost",
                    stream=self._stream,
                    types=", ".join(sorted(lost)),
                    gaps=len(gaps),
                    reason="the stream was created again" if replaced else "it deleted messages that were not loaded",
                )
            for name in lost:
                self.caught_up(name, state.first - 1, state.oldest)
            ends = [position for _, of_type in found for position in of_type]
            for position in ends:
                loaded, market = self._types.get(position.type), position.market
                if loaded and market and (market not in loaded.last or position.ts > loaded.last[market].ts):
                    loaded.last[market] = position
                    loaded.unsaved.add(market)
            if BOOK in lost:
                self._unsaved_bases |= {one.market: one.ts for one in ends if one.type == BOOK}
                self._unsaved_bases[None] = state.oldest
                self._without_base |= self._unsaved_bases

    async def _gaps(self, name: str, state: StreamState, gaps_lost: bool) -> tuple[list[Gap], list[Position]]:
        """From the last loaded message of each instrument to its first one that is left, or, without one, to the oldest
        message of the stream; and where the next gaps would begin."""
        loaded = self._types.get(name)
        since = loaded.ts if loaded else state.created
        last = dict(loaded.last) if loaded else {}
        remaining = await self._remaining(name, state)
        streams = await asyncio.to_thread(loss_streams, self._client, name)
        gaps, ends = [], []
        for market in dict.fromkeys((*last, *remaining)):
            begin = last[market].ts if market in last else since
            if gaps_lost:
                begin = min(begin, self._types[GAP].ts)
            end = max(begin, remaining.get(market, state.oldest))
            ends.append(Position(name, market, state.first - 1, end))
            gaps += [
                Gap(*market.key, stream, None, None, begin, end, DISCARDED)
                for stream in streams.get(market, streams[None])
            ]
        return gaps, ends

    async def _remaining(self, name: str, state: StreamState) -> Mapping[Market, int]:
        """The receive time of the first message of each instrument that the stream still has."""
        subject = consumers()[name].subject
        remaining = {}
        for payload in await inspection.first_payloads(self._nats, self._stream, subject, state.first):
            if where := _decoded(payload):
                remaining[where.market] = where.ts_recv
        return remaining

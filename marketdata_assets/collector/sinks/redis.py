"""Cache the last values of each instrument in Redis, as JSON with a time to live.

    market:trade:binance:spot:BTC-USDT          the last trade, as the record
    market:bbo:binance:spot:BTC-USDT            best bid and offer, see QUOTE
    market:ticker:binance:spot:BTC-USDT         the state of the market, merged of all messages, see State
    market:funding_rate:binance:linear:BTC-USDT the rate, as the record
    market:open_interest:binance:linear:BTC-USDT, as the record
    market:book:binance:spot:BTC-USDT           the best levels, as BookTop; no key while the book is out of sync
    market:kline:binance:spot:BTC-USDT:1m       the newest candle of an interval, as the record
    market:liquidations:binance:linear:BTC-USDT a sorted set of the newest ones, as records, by receive time in ms

Only the newest value of a key is written, so nothing accumulates while Redis is unavailable. A value that is written
twice gives the same.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from marketdata_assets.backoff import delay
from marketdata_assets.collector import config
from marketdata_assets.collector.items import TAGS, BookTop, Item, Recorded, TopOf, moment
from marketdata_assets.collector.sink import Sink, SinkState
from marketdata_assets.exchanges.records import (
    TICKER_PARTS,
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Record,
    Ticker,
    Trade,
)
from marketdata_assets.logs import get_logger

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMEOUT = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
DRAIN_ATTEMPTS = 3
"""At shutdown: old last values are not worth waiting for."""

CAPACITY = 100_000
"""Pending keys, far more than there are instruments; above it new ones are dropped."""

log = get_logger(__name__)

_encode = msgspec.json.Encoder().encode


QUOTE = (*Record.__struct_fields__, "bid", "bid_size", "ask", "ask_size", "unit")
"""The fields of best bid and offer, which are those of a Ticker. A null side is empty."""

_TELLING = [(part, name) for part, names in TICKER_PARTS.items() for name in names if not name.endswith("_size")]

SUMMARY_NS = 5 * 10**9
"""The best prices in a summary, as of 24 hours, were the best ones at some time in so many ns before it."""


def parts_of(ticker: Ticker) -> set[str]:
    """What a message says of the state. One with a size of 0, or nothing but a unit, says that nobody quotes."""
    parts = {part for part, name in _TELLING if getattr(ticker, name) is not None}
    if any(size is not None and not Decimal(size) for size in (ticker.bid_size, ticker.ask_size)):
        parts.add("quote")
    return parts or ({"quote"} if ticker.unit is not None else parts)


@dataclass
class State:
    """The newest message of each part of an instrument's state."""

    newest: Ticker
    parts: dict[str, Ticker] = field(default_factory=dict)

    @property
    def ts_recv(self) -> int:
        return self.newest.ts_recv

    def encoded(self, seconds: int) -> bytes:
        """The state as a ticker, with `parts`: the times of those that were received in the last `seconds`."""
        since = self.ts_recv - seconds * 1_000_000_000
        parts = {part: said for part, said in self.parts.items() if said.ts_recv >= since}
        values = {name: getattr(said, name) for part, said in parts.items() for name in TICKER_PARTS[part]}
        units = (said.unit for said in (self.newest, *parts.values()) if said.unit is not None)
        head = {name: getattr(self.newest, name) for name in Record.__struct_fields__}
        times = {part: {"ts_event": said.ts_event, "ts_recv": said.ts_recv} for part, said in parts.items()}
        merged = msgspec.to_builtins(Ticker(**head, **values, unit=next(units, None)))
        return _encode({**merged, "parts": times})


Cached = Trade | FundingRate | OpenInterest | Kline | Ticker | State
"""Values of one key; a Ticker is cached for its best bid and ask alone, a State for the whole instrument."""
Pipe = Any  # redis.asyncio.client.Pipeline


@dataclass
class _Pending:
    """What is to be written, by key."""

    values: dict[str, tuple[Cached, bytes | None]] = field(default_factory=dict)
    books: dict[str, OrderBook] = field(default_factory=dict)  # by its last update
    forced: dict[str, deque[Item]] = field(default_factory=dict)  # liquidations

    def __len__(self) -> int:
        return len(self.values) + len(self.books) + sum(map(len, self.forced.values()))

    def moments(self) -> Iterator[int]:
        """Receive times, ns."""
        yield from (record.ts_recv for record, _ in self.values.values())
        yield from (record.ts_recv for record in self.books.values())
        yield from (moment(item.record) for kept in self.forced.values() for item in kept)

    def put_before(self, older: "_Pending") -> None:
        """Take what was not written; what arrived meanwhile is newer."""
        self.values = older.values | self.values
        self.books = older.books | self.books
        for key, kept in older.forced.items():
            self.forced[key] = deque((*kept, *self.forced.get(key, ())), kept.maxlen)


class RedisSink(Sink):
    """Keeps the newest value of each key and writes them in one pipeline, as often as `settings` say."""

    name = "redis"
    durable = False

    def __init__(self, client: "Redis", top_of: TopOf, settings: config.Redis) -> None:
        super().__init__()
        self._client, self._top_of = client, top_of
        self._prefix, self._ttl, self._flush_seconds = settings.prefix, settings.ttl_seconds, settings.flush_seconds
        self._book_levels, self._liquidations = settings.book_levels, settings.liquidations
        self._pending, self._in_progress = _Pending(), _Pending()
        self._books: dict[str, OrderBook] = {}  # the last update of each book that has a key
        self._states: dict[str, State] = {}
        self._candles: dict[str, int] = {}  # open time of the newest one by key
        self._dropped = self._conflated = 0
        self._connected = False
        self._turn = asyncio.Lock()

    def put(self, items: Sequence[Item]) -> None:
        """Keep the newest values; other records are ignored."""
        for item in items:
            record, payload = item.record, item.payload
            if isinstance(record, Trade | FundingRate | OpenInterest):
                self._keep(TAGS[type(record)], record, payload)
            elif isinstance(record, Ticker):
                self._keep_state(record)
            elif isinstance(record, Kline):
                self._keep_candle(record, payload)
            elif isinstance(record, OrderBook):
                if self._book_levels:
                    self._keep_book(self._key("book", record), record)
            elif isinstance(record, Gap):
                if (update := self._books.get(self._key("book", record))) is not None:
                    self._keep_book(self._key("book", record), update)
            elif isinstance(record, Liquidation) and self._liquidations and self._has_room(False):
                key = self._key("liquidations", record)
                self._pending.forced.setdefault(key, deque(maxlen=self._liquidations)).append(item)

    async def run(self) -> None:
        while True:
            pause = delay(self._failures, FIRST_PAUSE, LONGEST_PAUSE) if self._failures else 0.0
            await asyncio.sleep(self._flush_seconds + pause)
            await self._write()

    async def drain(self, seconds: float) -> int:
        """Write what is left without waiting for an unavailable server, and disconnect; the number of values left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._pending and not await self._write() and self._failures < DRAIN_ATTEMPTS:
                    await asyncio.sleep(self._flush_seconds)
        await self._client.aclose()
        return len(self._pending)

    def state(self) -> SinkState:
        moments = (*self._pending.moments(), *self._in_progress.moments())
        about = {"dropped": self._dropped, "conflated": self._conflated}
        return self._state(len(self._pending), CAPACITY, connected=self._connected, moments=moments, **about)

    def _keep_state(self, ticker: Ticker) -> None:
        """Keep what a message says of the state of its market."""
        parts = parts_of(ticker)
        state = self._states.get(self._key("ticker", ticker)) or State(ticker)
        if "quote" in parts:
            if len(parts) == 1 or _is_newer(ticker, state.parts.get("quote")):
                self._keep("bbo", ticker, None)
            else:
                parts.remove("quote")
        if parts:
            self._states[self._key("ticker", ticker)] = state
            state.newest = ticker
            state.parts |= dict.fromkeys(parts, ticker)
            self._keep("ticker", state, None)

    def _key(self, name: str, record: Recorded) -> str:
        return f"{self._prefix}:{name}:{record.exchange}:{record.market_type}:{record.symbol}"

    def _keep(self, name: str, record: Cached, payload: bytes | None, suffix: str = "") -> None:
        key = self._key(name, record.newest if isinstance(record, State) else record) + suffix
        if self._has_room(key in self._pending.values):
            self._pending.values[key] = record, payload

    def _keep_candle(self, candle: Kline, payload: bytes) -> None:
        """Keep it unless it is older than the newest one of its interval."""
        key = f"{self._key('kline', candle)}:{candle.interval}"
        if candle.open_time >= self._candles.get(key, 0):
            self._candles[key] = candle.open_time
            self._keep("kline", candle, payload, f":{candle.interval}")

    def _keep_book(self, key: str, update: OrderBook) -> None:
        """Write the book as it is at the next flush."""
        self._books[key] = update
        if self._has_room(key in self._pending.books):
            self._pending.books[key] = update

    def _has_room(self, superseded: bool) -> bool:
        """Whether a value may be kept; count one that takes the place of another, or that there is no room for."""
        self._conflated += superseded
        full = not superseded and len(self._pending) >= CAPACITY
        self._dropped += full
        return not full

    async def _write(self) -> bool:
        """Write the pending values; False when the server failed."""
        from redis.exceptions import RedisError

        async with self._turn:
            if self._connected and not self._pending:
                return True
            self._in_progress, self._pending = self._pending, _Pending()
            self._sent += len(self._in_progress)
            try:
                async with asyncio.timeout(TIMEOUT), self._client.pipeline(transaction=False) as pipe:
                    if not self._in_progress:
                        pipe.ping()
                    self._fill(pipe, self._in_progress)
                    await pipe.execute()
            except (RedisError, OSError, TimeoutError) as error:
                self._connected = False
                self._failed(error)
                log.warning("redis_unavailable", error=error, attempt=self._failures)
                self._keep_for_later()
                return False
            except asyncio.CancelledError:
                self._keep_for_later()
                raise
            if self._failures:
                log.info("redis_available", attempts=self._failures)
            self._connected, self._failures = True, 0
            self._delivered([*self._in_progress.moments()])
            self._in_progress = _Pending()
            return True

    def _fill(self, pipe: Pipe, pending: _Pending) -> None:
        """Add the commands that write these values."""
        for key, (record, payload) in pending.values.items():
            if isinstance(record, State):
                payload = record.encoded(self._ttl)
            elif isinstance(record, Ticker):
                payload = _encode({"type": "bbo", **{name: getattr(record, name) for name in QUOTE}})
            pipe.set(key, payload, ex=self._ttl)
        for key, update in pending.books.items():
            levels = self._top_of(update.exchange, update.market_type, update.instrument, self._book_levels)
            if levels is None:
                pipe.delete(key)
            else:
                pipe.set(key, _encode(BookTop.of(self._books[key], levels)), ex=self._ttl)
        for key, kept in pending.forced.items():
            pipe.zadd(key, {item.payload: moment(item.record) // 1_000_000 for item in kept})
            pipe.zremrangebyrank(key, 0, -self._liquidations - 1)
            pipe.expire(key, self._ttl)

    def _keep_for_later(self) -> None:
        self._pending.put_before(self._in_progress)
        self._in_progress = _Pending()


def _is_newer(quote: Ticker, known: Ticker | None) -> bool:
    """Whether a summary's best prices are newer than the known ones. Those of a stream of them have an `update_id`."""
    if known is None or known.update_id is None or quote.update_id is not None:
        return True
    return quote.ts_recv - known.ts_recv >= SUMMARY_NS


def connect(url: str) -> "Redis":
    """A client; nothing is sent yet."""
    from redis.asyncio import Redis

    client: Redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    return client

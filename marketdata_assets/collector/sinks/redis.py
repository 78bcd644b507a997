"""The last values of each instrument in Redis: JSON under a key of their own, with a time to live.

    market:trade:binance:spot:BTC-USDT          the last trade, as the record
    market:bbo:binance:spot:BTC-USDT            best bid and offer, as Quote
    market:ticker:binance:spot:BTC-USDT         the state of the market, as the record
    market:funding_rate:binance:linear:BTC-USDT the rate, as the record

Only the newest value is ever written, so while Redis is away nothing piles up.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from time import time_ns
from typing import TYPE_CHECKING

import msgspec

from marketdata_assets.collector.items import Item
from marketdata_assets.collector.lag import Lag
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.exchanges.records import Decimal, FundingRate, SizeUnit, Ticker, Trade

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMEOUT = 5.0
LONGEST_PAUSE = 10.0
FAREWELLS = 3
"""Attempts at the end: old last values are worth no waiting."""

CAPACITY = 100_000
"""Keys that wait at most, far more than there are instruments; beyond it new ones are left out."""

_encode = msgspec.json.Encoder().encode


class Quote(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="bbo"):
    """Best bid and offer. A side that is null is empty."""

    exchange: str
    market_type: str
    symbol: str
    instrument: str
    ts_event: int | None  # ns
    ts_recv: int  # ns
    bid: Decimal | None
    bid_size: Decimal | None  # in `unit`
    ask: Decimal | None
    ask_size: Decimal | None
    unit: SizeUnit | None


Kept = Trade | Ticker | FundingRate | Quote
_Pending = dict[str, tuple[Kept, bytes | None]]


class RedisSink:
    """Keeps the newest value of each key and writes them in one pipeline every `flush_seconds`."""

    name = "redis"

    def __init__(
        self,
        client: "Redis",
        *,
        prefix: str = "market",
        ttl_seconds: int = 3600,
        flush_seconds: float = 0.1,
        lag: Lag | None = None,
    ) -> None:
        self.lag = lag or Lag()
        self._client = client
        self._prefix, self._ttl, self._flush_seconds = prefix, ttl_seconds, flush_seconds
        self._pending: _Pending = {}
        self._under_way: _Pending = {}
        self._told_apart: set[tuple[str, str, str]] = set()  # instruments whose best prices have a stream
        self._sent = self._acked = self._dropped = self._conflated = self._failures = 0
        self._connected = False
        self._error: str | None = None
        self._turn = asyncio.Lock()

    def put(self, items: Sequence[Item]) -> None:
        """Note the newest values; other records are passed over."""
        for record, payload in items:
            if isinstance(record, Trade):
                self._keep("trade", record, payload)
            elif isinstance(record, Ticker):
                if record.last is not None:
                    self._keep("ticker", record, payload)
                if self._is_best(record):
                    self._keep("bbo", _quote(record), None)
            elif isinstance(record, FundingRate):
                self._keep("funding_rate", record, payload)

    async def run(self) -> None:
        """Write until cancelled; a server that is away is tried again for ever."""
        while True:
            pause = self._flush_seconds
            if self._failures:
                most = min(LONGEST_PAUSE, 0.1 * 2.0 ** min(self._failures, 10))
                pause += random.uniform(0, most)  # noqa: S311 - no secret
            await asyncio.sleep(pause)
            await self._write()

    async def drain(self, seconds: float) -> int:
        """Write what is left and let the server go, without waiting for one that is away; how many values remain."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._pending and not await self._write() and self._failures < FAREWELLS:
                    await asyncio.sleep(self._flush_seconds)
        await self._client.aclose()
        return len(self._pending)

    def close(self) -> None:
        """`drain` has let the server go."""

    def state(self) -> SinkState:
        """How it is doing."""
        waiting = [kept.ts_recv for kept, _ in (*self._pending.values(), *self._under_way.values())]
        return SinkState(
            queued=len(self._pending),
            capacity=CAPACITY,
            connected=self._connected,
            last_error=self._error,
            oldest_ns=min(waiting, default=None),
            spooled=0,
            sent=self._sent,
            acked=self._acked,
            dropped=self._dropped,
            conflated=self._conflated,
        )

    def _is_best(self, one: Ticker) -> bool:
        """Whether it has the newest best prices: those of a sum of 24 hours are older than those told by themselves."""
        if one.bid is None and one.ask is None:
            return False
        about = (one.exchange, one.market_type, one.instrument)
        if one.last is None:
            self._told_apart.add(about)
        return one.last is None or about not in self._told_apart

    def _keep(self, name: str, record: Kept, payload: bytes | None) -> None:
        key = f"{self._prefix}:{name}:{record.exchange}:{record.market_type}:{record.symbol}"
        pending = self._pending
        if key in pending:
            self._conflated += 1
        elif len(pending) >= CAPACITY:
            self._dropped += 1
            return
        pending[key] = record, payload

    async def _write(self) -> bool:
        """Whether all that had come is written."""
        from redis.exceptions import RedisError

        async with self._turn:
            if self._connected and not self._pending:
                return True
            self._under_way, self._pending = self._pending, {}
            self._sent += len(self._under_way)
            try:
                async with asyncio.timeout(TIMEOUT):
                    await self._send(self._under_way)
            except (RedisError, OSError, TimeoutError) as error:
                self._failed(error)
                return False
            except asyncio.CancelledError:
                self._pending = self._under_way | self._pending
                self._under_way = {}
                raise
            self._connected, self._failures = True, 0
            self._acked += len(self._under_way)
            self.lag.observe_since((kept.ts_recv for kept, _ in self._under_way.values()), time_ns())
            self._under_way = {}
            return True

    async def _send(self, values: _Pending) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            if not values:
                pipe.ping()
            for key, (record, payload) in values.items():
                pipe.set(key, _encode(record) if payload is None else payload, ex=self._ttl)
            await pipe.execute()

    def _failed(self, error: Exception) -> None:
        self._connected = False
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}"
        # What came meanwhile is newer.
        self._pending = self._under_way | self._pending
        self._under_way = {}


def connect(url: str) -> "Redis":
    """A client of the server; nothing is sent yet."""
    from redis.asyncio import Redis

    client: Redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    return client


def _quote(one: Ticker) -> Quote:
    return Quote(
        one.exchange,
        one.market_type,
        one.symbol,
        one.instrument,
        one.ts_event,
        one.ts_recv,
        one.bid,
        one.bid_size,
        one.ask,
        one.ask_size,
        one.unit,
    )

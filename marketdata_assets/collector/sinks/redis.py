"""Cache the last values of each instrument in Redis, as JSON with a time to live.

    market:trade:binance:spot:BTC-USDT          the last trade, as the record
    market:bbo:binance:spot:BTC-USDT            best bid and offer, as Quote
    market:ticker:binance:spot:BTC-USDT         the state of the market, as the record
    market:funding_rate:binance:linear:BTC-USDT the rate, as the record

Only the newest value of a key is written, so nothing accumulates while Redis is unavailable.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from time import time_ns
from typing import TYPE_CHECKING

import msgspec

from marketdata_assets.backoff import delay
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.items import Item
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.exchanges.records import Decimal, FundingRate, SizeUnit, Ticker, Trade
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


class Quote(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="bbo"):
    """Best bid and offer. A null side is empty."""

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


_quote_fields = attrgetter(*Quote.__struct_fields__)

Cached = Trade | Ticker | FundingRate | Quote
_Pending = dict[str, tuple[Cached, bytes | None]]


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
    ) -> None:
        self.latency = LatencyHistogram()
        self._client = client
        self._prefix, self._ttl, self._flush_seconds = prefix, ttl_seconds, flush_seconds
        self._pending: _Pending = {}
        self._in_progress: _Pending = {}
        self._with_bbo_stream: set[tuple[str, str, str]] = set()  # instruments whose best prices have a stream
        self._sent = self._acked = self._dropped = self._conflated = self._failures = 0
        self._connected = False
        self._error: str | None = None
        self._turn = asyncio.Lock()

    def put(self, items: Sequence[Item]) -> None:
        """Keep the newest values; other records are ignored."""
        for record, payload in items:
            if isinstance(record, Trade):
                self._keep("trade", record, payload)
            elif isinstance(record, Ticker):
                if record.last is not None:
                    self._keep("ticker", record, payload)
                if self._is_best(record):
                    self._keep("bbo", Quote(*_quote_fields(record)), None)
            elif isinstance(record, FundingRate):
                self._keep("funding_rate", record, payload)

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

    def close(self) -> None:
        """Nothing: `drain` has disconnected."""

    def state(self) -> SinkState:
        waiting = [kept.ts_recv for kept, _ in (*self._pending.values(), *self._in_progress.values())]
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

    def _is_best(self, ticker: Ticker) -> bool:
        """Whether it has the newest best prices: those of a 24 h summary are older than those of the bbo stream."""
        if ticker.bid is None and ticker.ask is None:
            return False
        about = (ticker.exchange, ticker.market_type, ticker.instrument)
        if ticker.last is None:
            self._with_bbo_stream.add(about)
        return ticker.last is None or about not in self._with_bbo_stream

    def _keep(self, name: str, record: Cached, payload: bytes | None) -> None:
        key = f"{self._prefix}:{name}:{record.exchange}:{record.market_type}:{record.symbol}"
        pending = self._pending
        if key in pending:
            self._conflated += 1
        elif len(pending) >= CAPACITY:
            self._dropped += 1
            return
        pending[key] = record, payload

    async def _write(self) -> bool:
        """Write the pending values; False when the server failed."""
        from redis.exceptions import RedisError

        async with self._turn:
            if self._connected and not self._pending:
                return True
            self._in_progress, self._pending = self._pending, {}
            self._sent += len(self._in_progress)
            try:
                async with asyncio.timeout(TIMEOUT), self._client.pipeline(transaction=False) as pipe:
                    if not self._in_progress:
                        pipe.ping()
                    for key, (record, payload) in self._in_progress.items():
                        pipe.set(key, _encode(record) if payload is None else payload, ex=self._ttl)
                    await pipe.execute()
            except (RedisError, OSError, TimeoutError) as error:
                self._connected = False
                self._failures += 1
                self._error = f"{type(error).__name__}: {error}"
                log.warning("redis_unavailable", error=error, attempt=self._failures)
                self._keep_for_later()
                return False
            except asyncio.CancelledError:
                self._keep_for_later()
                raise
            if self._failures:
                log.info("redis_available", attempts=self._failures)
            self._connected, self._failures = True, 0
            self._acked += len(self._in_progress)
            self.latency.observe_since((kept.ts_recv for kept, _ in self._in_progress.values()), time_ns())
            self._in_progress = {}
            return True

    def _keep_for_later(self) -> None:
        # Values that arrived meanwhile are newer.
        self._pending = self._in_progress | self._pending
        self._in_progress = {}


def connect(url: str) -> "Redis":
    """A client; nothing is sent yet."""
    from redis.asyncio import Redis

    client: Redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    return client

"""Coinbase as a simulated venue: the socket of Advanced Trade and the REST of the Exchange, on one address.

Names are products, as ABC-USD. The pages of REST are those of CoinbaseServer; CoinbaseVenue tells there of what
happened on its socket.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from aiohttp import web

from marketdata_assets.exchanges.coinbase.adapter import PER_SECOND
from marketdata_assets.exchanges.coinbase.history import CANDLES, TRADES
from marketdata_assets.exchanges.coinbase.parse import INTERVAL_OF
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.wire import NS, rfc3339
from marketdata_demo.servers.loopback import ProviderServer
from marketdata_demo.venues.live_market import Candle, Change, Happened, Made, Market
from marketdata_demo.venues.venue import Socket, Venue, over

KINDS = {"market_trades": "trade", "level2": "book", "ticker": "trade"}
LAST_TRADES = 100  # to a new subscription
MAKER = {"buy": "SELL", "sell": "BUY"}
SIDES = {"bid": "bids", "offer": "asks"}
NUMBER = b'"sequence_num":-1'
EPOCH = "1970-01-01T00:00:00Z"


class CoinbaseServer(ProviderServer):
    """`trades` are in order, `page` is how many an answer has at most. Every candle since `first_candle` has trades."""

    def __init__(self, listed: Sequence[str] = ("ABC-USD",), **limits: Any) -> None:
        super().__init__(**limits)
        self.listed = list(listed)
        self.trades: list[Happened] = []
        self.first_candle, self.now, self.page = 0, 0, TRADES

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return _refused("Public rate limit exceeded", 429)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        _, path, *rest = request.path.split("/")
        if path != "products" or len(rest) not in (0, 2):
            return _refused("Route not found", 404)
        if not rest:
            return _json([{"id": name, "status": "online", "base_currency": "ABC"} for name in self.listed])
        name, kind = rest
        if name not in self.listed:
            return _refused("NotFound", 404)
        if kind == "trades":
            return _json(self.past_trades(name, request.query))
        seconds = int(request.query["granularity"])
        first, last = (rfc3339(request.query[name]) // NS for name in ("start", "end"))
        if seconds not in INTERVAL_OF:
            return _refused("Unsupported granularity", 400)
        if (last - first) // seconds + 1 > CANDLES:
            return _refused("granularity too small for the requested time range", 400)
        return _json(self.candles(name, first, last, seconds))

    def past_trades(self, name: str, query: Any) -> list[Any]:
        after = int(query.get("after", 2**62))
        found = [one for one in self.trades if one.number < after]
        return [_row("4.2", "0.5", one.ts, "buy", one.number) for one in reversed(found)][: self._most(query)]

    def candles(self, name: str, first: int, last: int, seconds: int) -> list[Any]:
        begin = max(-(-first // seconds) * seconds, self.first_candle // 1000)
        starts = range(min(last, self.now // 1000) // seconds * seconds, begin - 1, -seconds)
        return [[start, 3, 5, 4, 4, 10.5] for start in starts]

    def _most(self, query: Any) -> int:
        return min(int(query["limit"]), self.page)


class CoinbaseVenue(Venue, CoinbaseServer):
    """`silence_seconds`: a client without heartbeats to which nothing was sent for so long is cut."""

    socket_path = "/"
    connection_limit = (1.0, PER_SECOND)
    invented: ClassVar[Mapping[MarketType, Sequence[str]]] = {"spot": ("ABC-USD", "DEF-USD")}

    def __init__(self, names: Sequence[str], *, silence_seconds: float = 60.0, **options: Any) -> None:
        super().__init__(names, listed=names, **options)
        self.silence_seconds = silence_seconds
        self._numbers: dict[Socket, int] = {}  # of the last message of a socket
        self._kept: dict[str, list[Candle]] = {}  # closed ones

    def numbered(self, socket: Socket, raw: bytes) -> bytes:
        number = self._numbers[socket] = self._numbers.get(socket, -1) + 1
        socket.beat = time.monotonic()
        return raw.replace(NUMBER, b'"sequence_num":%d' % number, 1)

    # Sockets.

    def on_tick(self, socket: Socket, now: float) -> None:
        quiet = now - max(socket.opened, socket.beat)
        if "heartbeats:heartbeats" in socket.streams:
            if now - socket.beat >= 1.0:
                socket.beats += 1
                self._send(socket, "heartbeats", [{"current_time": "now", "heartbeat_counter": socket.beats}])
        elif quiet > self.silence_seconds:
            self.throw_out(socket, "silence")

    async def message(self, socket: Socket, raw: str) -> None:
        request = _read(raw)
        kind, channel = request.get("type"), request.get("channel")
        if over(sorted(moment for one in self.sockets for moment in one.asked), 1.0, PER_SECOND):
            self.violations.append("too many messages in a second")
            _complain(socket, "rate limit exceeded")
        elif kind not in ("subscribe", "unsubscribe") or channel not in (*KINDS, "heartbeats"):
            _complain(socket, "Failed to subscribe", f"{channel} is not a valid channel")
        else:
            names = request.get("product_ids") or (["heartbeats"] if channel == "heartbeats" else [])
            begun = [name for name in names if self._about(socket, kind, channel, name)]
            told: dict[str, list[str]] = {}
            for stream in sorted(socket.streams):
                told.setdefault(stream.partition(":")[0], []).append(stream.partition(":")[2])
            self._send(socket, "subscriptions", [{"subscriptions": told}])
            for name in begun:
                self._begin(socket, channel, name)

    def _about(self, socket: Socket, kind: str, channel: str, name: str) -> bool:
        """Whether a subscription begins."""
        stream = f"{channel}:{name}"
        if channel != "heartbeats" and name not in self.markets:
            _complain(socket, "Failed to subscribe", f"{name} is not a valid product")
            return False
        if kind == "unsubscribe":
            socket.streams.discard(stream)
            return False
        socket.streams.add(stream)
        socket.muted.discard(stream)
        return channel != "heartbeats"

    def _begin(self, socket: Socket, channel: str, name: str) -> None:
        market = self.markets[name]
        self.wanted(name, KINDS[channel])
        if channel == "level2":
            bids, asks = market.levels(1 << 20)
            levels = [_level("bid", *one, EPOCH) for one in bids] + [_level("offer", *one, EPOCH) for one in asks]
            self._send(socket, "l2_data", [{"type": "snapshot", "product_id": name, "updates": levels}])
        elif channel == "ticker":
            self._send(socket, "ticker", [self._ticker(market, "snapshot")])
        elif market.recent:
            trades = [_trade(market, made) for made in reversed(market.recent[-LAST_TRADES:])]
            self._send(socket, channel, [{"type": "snapshot", "trades": trades}])

    def _send(self, socket: Socket, channel: str, events: Any) -> None:
        socket.text(self.numbered(socket, self._pushed(channel, events)))

    def on_trade(self, market: Market, made: Made) -> None:
        event = {"type": "update", "trades": [_trade(market, made)]}
        self.publish(f"market_trades:{market.name}", self._pushed("market_trades", [event]))
        self.publish(f"ticker:{market.name}", self._pushed("ticker", [self._ticker(market, "update")]))

    def on_change(self, market: Market, change: Change) -> None:
        levels = [
            _level(side, one.price, one.size, _time(change.ts))
            for side, name in SIDES.items()
            for one in getattr(change, name)
        ]
        event = {"type": "update", "product_id": market.name, "updates": levels}
        self.publish(f"level2:{market.name}", self._pushed("l2_data", [event]))

    def on_candle(self, market: Market, candle: Candle) -> None:
        if candle.closed:
            self._kept.setdefault(market.name, []).append(candle)

    def _ticker(self, market: Market, kind: str) -> dict[str, Any]:
        (bid, bid_size), (ask, ask_size) = market.best()
        told = {"type": "ticker", "product_id": market.name, "price": market.price(market.last_price)}
        told |= {"volume_24_h": "97.5", "low_24_h": "4.1", "high_24_h": "4.3", "price_percent_chg_24_h": "-2.4"}
        told |= {"best_bid": bid, "best_bid_quantity": bid_size, "best_ask": ask, "best_ask_quantity": ask_size}
        return {"type": kind, "tickers": [told]}

    def _pushed(self, channel: str, events: Any) -> bytes:
        head = {"channel": channel, "client_id": "", "timestamp": _time(self.now_ms()), "sequence_num": -1}
        return msgspec.json.encode({**head, "events": events})

    # REST.

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await CoinbaseServer.answer(self, request)

    def past_trades(self, name: str, query: Any) -> list[Any]:
        after = int(query.get("after", 2**62))
        found = [one for one in self.markets[name].recent if one.number < after]
        rows = [_row(one.price, one.size, one.ts, MAKER[one.side].lower(), one.number) for one in reversed(found)]
        return rows[: self._most(query)]

    def candles(self, name: str, first: int, last: int, seconds: int) -> list[Any]:
        market = self.markets[name]
        kept = [one for one in self._kept.get(name, []) if first <= one.start // 1000 <= last]
        return [_candle(market, one) for one in reversed(kept)]


def _candle(market: Market, one: Candle) -> list[Any]:
    prices = [market.price(ticks) for ticks in (one.low, one.high, one.open, one.close)]
    return [one.start // 1000, *(msgspec.Raw(text.encode()) for text in (*prices, market.size(one.volume)))]


def _trade(market: Market, made: Made) -> dict[str, str]:
    told = {"trade_id": str(made.number), "product_id": market.name, "price": made.price, "size": made.size}
    return told | {"side": MAKER[made.side], "time": _time(made.ts)}


def _level(side: str, price: str, size: str, moment: str) -> dict[str, str]:
    return {"side": side, "event_time": moment, "price_level": price, "new_quantity": size}


def _row(price: str, size: str, ts: int, side: str, number: int) -> dict[str, Any]:
    return {"trade_id": number, "side": side, "size": size, "price": price, "time": _time(ts)}


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}000Z"


def _complain(socket: Socket, message: str, reason: str = "") -> None:
    socket.text(msgspec.json.encode({"type": "error", "message": message, "reason": reason}))


def _refused(words: str, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode({"message": words}), status=status, content_type="application/json")


def _json(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _read(raw: str) -> dict[str, Any]:
    try:
        read = json.loads(raw)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}

"""Kraken as a simulated venue: the public socket, version 2, and REST, on one address. Names are pairs, as ABC/USD.

The pages of REST are those of KrakenServer; KrakenVenue tells there of what happened on its socket.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from zlib import crc32

import msgspec
from aiohttp import web
from msgspec import Raw

from marketdata_assets.exchanges.kraken.adapter import CONNECTIONS, CONNECTIONS_SECONDS, DEPTH, PATH
from marketdata_assets.exchanges.kraken.book import CHECKED_LEVELS, DEPTHS
from marketdata_assets.exchanges.kraken.history import API, KEPT_CANDLES
from marketdata_assets.exchanges.kraken.instruments import named, rest_name
from marketdata_assets.exchanges.kraken.parse import INTERVAL_OF
from marketdata_assets.exchanges.records import MarketType
from marketdata_demo.servers.loopback import ProviderServer
from marketdata_demo.venues.live_market import MINUTE, Candle, Change, Happened, Made, Market
from marketdata_demo.venues.venue import Socket, Venue, changed, over

KINDS = {"trade": "trade", "book": "book", "ticker": "book"}
MESSAGES_PER_SECOND = 50  # of a client, on one socket
Sides = tuple[list[tuple[str, str]], list[tuple[str, str]]]  # price and size, best first


class KrakenServer(ProviderServer):
    """`trades` are in order, `page` is how many an answer has at most. Every candle since `first_candle` has trades."""

    def __init__(self, listed: Sequence[str] = ("ABC/USD", "BTC/USD"), **limits: Any) -> None:
        super().__init__(**limits)
        self.listed = list(listed)
        self.trades: list[Happened] = []
        self.first_candle, self.now, self.page = 0, 0, 1000

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return _told("EGeneral:Too many requests")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query, path = request.query, request.path.removeprefix(API)
        pairs = {_rest(name): name for name in self.listed}
        if path == "AssetPairs":
            return _told(**{f"X{key}": _listed(name) for key, name in pairs.items()})
        if path not in ("Trades", "OHLC"):
            return _told("EGeneral:Unknown method")
        if query["pair"] not in pairs:
            return _told("EQuery:Unknown asset pair")
        rows = getattr(self, path)(pairs[query["pair"]], query)
        return _told(**{f"X{query['pair']}": rows, "last": "1"})

    def Trades(self, name: str, query: Any) -> list[Any]:  # noqa: N802 - the venue's word
        after = [one for one in self.trades if one.ts * 1_000_000 > int(query["since"])]
        return [_row("4.20000", "0.50000000", one.ts, "b", one.number) for one in after[: self.page]]

    def OHLC(self, name: str, query: Any) -> list[Any]:  # noqa: N802 - the venue's word
        length = int(query["interval"]) * MINUTE
        last = self.now // length * length
        first = max(last - (KEPT_CANDLES - 1) * length, -(-self.first_candle // length) * length)
        starts = [start for start in range(first, last + 1, length) if start > int(query["since"]) * 1000]
        return [[start // 1000, "4", "5", "3", "4", "4.1", "10", 7] for start in starts or [last]]


class KrakenVenue(Venue, KrakenServer):
    """`silence_seconds`: a client that says nothing for so long is cut."""

    socket_path = PATH
    connection_limit = (CONNECTIONS_SECONDS, CONNECTIONS)
    invented: ClassVar[Mapping[MarketType, Sequence[str]]] = {"spot": ("ABC/USD", "BTC/USD")}

    def __init__(self, names: Sequence[str], *, silence_seconds: float = 600.0, **options: Any) -> None:
        super().__init__(names, listed=names, **options)
        self.silence_seconds = silence_seconds
        self._shown: dict[tuple[str, int], Sides] = {}  # what subscribers of a depth have of a book
        self._kept: dict[str, list[Candle]] = {}  # closed ones

    # Sockets.

    def on_open(self, socket: Socket, request: web.Request) -> None:
        about = {"system": "online", "api_version": "v2", "connection_id": 1, "version": "2.0.10"}
        socket.text(_pushed("status", "update", [about]))

    def on_tick(self, socket: Socket, now: float) -> None:
        if now - max(socket.heard, socket.opened) > self.silence_seconds:
            self.throw_out(socket, "silence")
        elif socket.streams and now - socket.beat >= 1.0:
            socket.beat = now
            socket.text(b'{"channel":"heartbeat"}')

    async def message(self, socket: Socket, raw: str) -> None:
        request = _read(raw)
        method, params = request.get("method"), request.get("params") or {}
        about = {"method": method, "req_id": request.get("req_id", 0)}
        if over(socket.asked, 1.0, MESSAGES_PER_SECOND):
            self._refuse(socket, about, "Exceeded msg rate")
        elif method == "ping":
            socket.text(_bytes({**about, "method": "pong", "time_in": "", "time_out": ""}))
        elif method not in ("subscribe", "unsubscribe"):
            self._refuse(socket, about, "Malformed request")
        else:
            for name in params.get("symbol", ()):
                self._about(socket, about, params, name)

    def _refuse(self, socket: Socket, about: dict[str, Any], words: str) -> None:
        socket.text(_bytes({"error": words, **about, "success": False, "time_in": "", "time_out": ""}))

    def _about(self, socket: Socket, about: dict[str, Any], params: Any, name: str) -> None:
        channel, depth, interval = params.get("channel"), params.get("depth", 10), params.get("interval", 1)
        stream = _stream(channel, name, depth if channel == "book" else interval if channel == "ohlc" else 0)
        words = ""
        if name not in self.markets:
            words = f"Currency pair not supported {name}"
        elif channel not in (*KINDS, "ohlc"):
            words = "Subscription name invalid"
        elif channel == "book" and depth not in DEPTHS:
            words = "Subscription depth not supported"
        elif channel == "ohlc" and interval not in INTERVAL_OF:
            words = "Subscription ohlc interval not supported"
        elif (stream in socket.streams) is (about["method"] == "subscribe"):
            words = "Already subscribed" if stream in socket.streams else "Subscription Not Found"
        if words:
            self._refuse(socket, {**about, "symbol": name}, words)
            return
        told = {"channel": channel, "symbol": name} | ({"depth": depth} if channel == "book" else {})
        told |= {"interval": interval} if channel == "ohlc" else {}
        socket.text(_bytes({**about, "result": told, "success": True, "time_in": "", "time_out": ""}))
        if about["method"] == "unsubscribe":
            socket.streams.discard(stream)
            return
        socket.streams.add(stream)
        socket.muted.discard(stream)
        market = self.markets[name]
        self.wanted(name, KINDS.get(channel))
        if channel == "book":
            shown = self._shown[name, depth] = market.levels(depth)
            socket.text(self._book("snapshot", market, shown, shown))
        elif channel == "ticker":
            socket.text(self._ticker(market, "snapshot"))

    def _tell(self, stream: str, raw: bytes) -> None:
        for socket in self.sockets:
            if stream in socket.streams:
                socket.beat = time.monotonic()
        self.publish(stream, raw)

    def on_trade(self, market: Market, made: Made) -> None:
        told: dict[str, Any] = {
            "symbol": market.name,
            "side": made.side,
            "price": _raw(made.price),
            "qty": _raw(made.size),
        }
        told |= {"ord_type": "limit", "trade_id": made.number, "timestamp": _time(made.ts)}
        self._tell(_stream("trade", market.name), _pushed("trade", "update", [told]))

    def on_change(self, market: Market, change: Change) -> None:
        """Each depth tells what changed within it, and nothing of a level that another one pushed out."""
        for (name, depth), before in self._shown.items():
            if name != market.name:
                continue
            now = self._shown[name, depth] = market.levels(depth)
            told = [
                [one for one in changed(old, new) if one[1] != "0" or len(new) < depth or _within(one[0], new, place)]
                for place, (old, new) in enumerate(zip(before, now, strict=True))
            ]
            if any(told):
                self._tell(_stream("book", name, depth), self._book("update", market, (told[0], told[1]), now))
        self._tell(_stream("ticker", market.name), self._ticker(market, "update"))

    def on_candle(self, market: Market, candle: Candle) -> None:
        """Candles come with trades, and none says that it is over."""
        if candle.closed:
            self._kept.setdefault(market.name, []).append(candle)
        prices = (market.price(one) for one in (candle.open, candle.high, candle.low, candle.close))
        told: dict[str, Any] = {"symbol": market.name}
        told |= dict(zip(("open", "high", "low", "close"), map(_raw, prices), strict=True))
        told |= {"trades": candle.trades, "volume": _raw(market.size(candle.volume)), "vwap": Raw(b"4.2")}
        told |= {"interval_begin": _time(candle.start), "interval": 1, "timestamp": _time(candle.start + MINUTE)}
        message = {"channel": "ohlc", "type": "update", "timestamp": _time(self.now_ms()), "data": [told]}
        self._tell(_stream("ohlc", market.name, 1), _bytes(message))

    def _book(self, kind: str, market: Market, told: Sides, now: Sides) -> bytes:
        bids, asks = ([{"price": _raw(price), "qty": _raw(size)} for price, size in side] for side in told)
        best = [text for side in (now[1], now[0]) for level in side[:CHECKED_LEVELS] for text in level]
        checksum = crc32("".join(str(int(text.replace(".", ""))) for text in best).encode())
        about: dict[str, Any] = {"symbol": market.name, "bids": bids, "asks": asks, "checksum": checksum}
        return _pushed("book", kind, [about | {"timestamp": _time(self.now_ms())}])

    def _ticker(self, market: Market, kind: str) -> bytes:
        (bid, bid_size), (ask, ask_size) = market.best()
        told: dict[str, Any] = {"symbol": market.name, "bid": _raw(bid), "bid_qty": _raw(bid_size), "ask": _raw(ask)}
        told |= {"ask_qty": _raw(ask_size), "last": _raw(market.price(market.last_price))}
        fixed = {
            "volume": b"97.5",
            "vwap": b"4.2",
            "low": b"4.1",
            "high": b"4.3",
            "change": b"-0.1",
            "change_pct": b"-2.4",
        }
        told |= {name: Raw(text) for name, text in fixed.items()}
        return _pushed("ticker", kind, [told | {"timestamp": _time(self.now_ms())}])

    # REST.

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await KrakenServer.answer(self, request)

    def Trades(self, name: str, query: Any) -> list[Any]:  # noqa: N802 - the venue's word
        after = [one for one in self.markets[name].recent if one.ts * 1_000_000 > int(query["since"])]
        return [_row(one.price, one.size, one.ts, one.side[0], one.number) for one in after[: self.page]]

    def OHLC(self, name: str, query: Any) -> list[Any]:  # noqa: N802 - the venue's word
        market = self.markets[name]
        kept = [*self._kept.get(name, []), *([market.candle] if market.candle else [])][-KEPT_CANDLES:]
        return [_candle_row(market, one) for one in kept if one.start > int(query["since"]) * 1000 or one is kept[-1]]


def _candle_row(market: Market, one: Candle) -> list[Any]:
    prices = [market.price(ticks) for ticks in (one.open, one.high, one.low, one.close)]
    return [one.start // 1000, *prices, "4.2", market.size(one.volume), one.trades]


def _within(price: str, levels: Sequence[tuple[str, str]], asks: int) -> bool:
    """Whether a price is not worse than the last of these levels."""
    worst = float(levels[-1][0])
    return float(price) <= worst if asks else float(price) >= worst


def _row(price: str, size: str, ts: int, side: str, number: int) -> list[Any]:
    return [price, size, Raw(f"{ts // 1000}.{ts % 1000:03}".encode()), side, "l", "", number]


def _stream(channel: str, name: str, detail: int = 0) -> str:
    """As subscriptions are named; a book of another depth than the usual one has it in its name."""
    usual = not detail or (channel, detail) == ("book", DEPTH)
    return f"{channel}:{name}" if usual else f"{channel}-{detail}:{name}"


def _rest(name: str) -> str:
    known = named(name)
    assert known, f"{name} is no name of Kraken"
    return rest_name(known)


def _listed(name: str) -> dict[str, Any]:
    pair = _rest(name)
    wsname = f"{pair.removesuffix(name.partition('/')[2])}/{name.partition('/')[2]}"
    about = {"altname": pair, "wsname": wsname, "aclass_base": "currency", "base": f"X{wsname.partition('/')[0]}"}
    return about | {"quote": "ZUSD", "pair_decimals": 2, "lot_decimals": 3, "status": "online"}


def _told(*errors: str, **result: Any) -> web.Response:
    body = {"error": list(errors)} | ({} if errors else {"result": result})
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _read(raw: str) -> dict[str, Any]:
    try:
        read = json.loads(raw)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}000Z"


def _raw(text: str) -> Raw:
    return Raw(text.encode())


def _pushed(channel: str, kind: str, data: Any) -> bytes:
    return _bytes({"channel": channel, "type": kind, "data": data})


def _bytes(message: Any) -> bytes:
    return msgspec.json.encode(message)

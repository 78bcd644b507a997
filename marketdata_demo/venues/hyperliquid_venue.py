"""Hyperliquid as a simulated venue: one socket and one REST path, for perpetuals and spot pairs.

Names say the kind: ABC is a perpetual, dex:ABC one of another dex, ABC/USDC and @107 are spot pairs.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from aiohttp import web

from marketdata_assets.exchanges.hyperliquid.adapter import (
    CONNECTIONS_PER_MINUTE,
    MESSAGES_PER_MINUTE,
    SUBSCRIPTIONS,
)
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM, Subscription
from marketdata_demo.servers.loopback import ProviderServer
from marketdata_demo.venues.hyperliquid import tid
from marketdata_demo.venues.live_market import Candle, Change, Happened, Made, Market
from marketdata_demo.venues.venue import Invented, Socket, Venue, over

ROWS, LEVELS, FAST_LEVELS = 500, 20, 5
LAST_TRADES, FIRST_TRADES = 10, 30  # over REST, and to a new subscription
LENGTHS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000, "M": 30 * 86_400_000}
LISTED = ("ABC", "ABC/USDC")


class HyperliquidServer(ProviderServer):
    """`trades` are in order, `hours` are when something was paid, ms. Every candle since 1970 has trades."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.trades: list[Happened] = []
        self.hours: list[int] = []

    async def line(self, request: web.Request) -> str:
        return f"{request.raw_path} {(await request.read()).decode()}"

    def too_many(self, limit: str) -> web.StreamResponse:
        return web.Response(status=429, text="null")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        assert (request.method, request.path) == ("POST", "/info")
        about = asked.get("req", asked)
        if about.get("coin", self.names[0]) not in self.names:
            return web.json_response(None)
        return web.json_response(getattr(self, f"info_{asked['type']}")(about))

    @property
    def names(self) -> Sequence[str]:
        return LISTED

    def info_meta(self, about: Any) -> Any:
        dex = about.get("dex", "")
        names = [name for name in self.names if not _is_spot(name) and name.rpartition(":")[0] == dex]
        if dex:
            return (
                {"universe": [{"name": name, "szDecimals": 3} for name in names], "collateralToken": 360}
                if names
                else None
            )
        universe = [{"name": name, "szDecimals": 5, "maxLeverage": 50} for name in names]
        gone = {"name": "GONE", "szDecimals": 1, "maxLeverage": 3, "isDelisted": True}
        return {"universe": [*universe, gone], "collateralToken": 0}

    def info_spotMeta(self, _: Any) -> Any:  # noqa: N802 - the venue's word
        pairs = [name for name in self.names if _is_spot(name)]
        tokens = [{"name": "USDC", "index": 0}, {"name": "USDH", "index": 360}]
        tokens += [{"name": _base(name), "index": number} for number, name in enumerate(pairs, 1)]
        universe = [{"name": name, "tokens": [number, 0], "index": number} for number, name in enumerate(pairs, 1)]
        return {"tokens": tokens, "universe": universe}

    def info_candleSnapshot(self, about: Any) -> Any:  # noqa: N802 - the venue's word
        length = int(about["interval"][:-1]) * LENGTHS[about["interval"][-1]]
        first = about["startTime"] // length * length
        starts = range(first, about["endTime"] + 1, length)[:ROWS]
        fixed = {"s": about["coin"], "i": about["interval"], "o": "4", "h": "5", "l": "3", "c": "4", "v": "10", "n": 7}
        return [fixed | {"t": start, "T": start + length - 1} for start in starts]

    def info_fundingHistory(self, about: Any) -> Any:  # noqa: N802 - the venue's word
        paid = [hour for hour in self.hours if about["startTime"] <= hour <= about["endTime"]]
        fixed = {"coin": about["coin"], "fundingRate": "0.0000125", "premium": "0.0003"}
        return [fixed | {"time": hour} for hour in paid[:ROWS]]

    def info_recentTrades(self, about: Any) -> Any:  # noqa: N802 - the venue's word
        fixed = {"coin": about["coin"], "side": "B", "px": "4.2", "sz": "0.5", "hash": "0x0"}
        return [fixed | {"time": one.ts, "tid": one.number} for one in reversed(self.trades[-LAST_TRADES:])]


class Coin(Market):
    """A market whose trades have ids without an order."""

    def trade(self, ts: int, at_ns: int) -> tuple[Made, Candle | None]:
        made, done = super().trade(ts, at_ns)
        self.recent[-1] = replace(made, number=tid(made.number))
        return self.recent[-1], done


KINDS = {"trades": "trade", "l2Book": "book", "bbo": "book"}


class HyperliquidVenue(Venue, HyperliquidServer):
    """`silence_seconds`: a client that receives nothing for so long is disconnected. `book_ms`: between two books."""

    socket_path = "/ws"
    connection_limit = (60.0, CONNECTIONS_PER_MINUTE)
    invented: ClassVar[Invented] = {"spot": ("ABC/USDC",), "linear": ("ABC", "DEF")}

    def __init__(
        self, names: Sequence[str], *, silence_seconds: float = 60.0, book_ms: int = 500, **options: Any
    ) -> None:
        super().__init__(names, **options)
        self.silence_seconds, self.book_ms = silence_seconds, book_ms
        self._kept: dict[str, list[Candle]] = {}  # closed ones
        self._told: dict[str, int] = {}  # when a book was, ms
        self._best: dict[str, Any] = {}  # the last best prices that were told
        self._changed: set[str] = set()  # books that were not told since

    @property
    def names(self) -> Sequence[str]:
        return list(self.markets)

    def market(self, name: str, seed: int, index: int) -> Market:
        return Coin(name, seed, index)

    # Sockets.

    def on_tick(self, socket: Socket, now: float) -> None:
        if now - max(socket.opened, socket.beat) > self.silence_seconds:
            self.throw_out(socket, "silence")
        for name in list(self._changed):
            self._tell_book(self.markets[name])

    async def message(self, socket: Socket, raw: str) -> None:
        request = _read(raw)
        asked = [moment for one in self.sockets for moment in one.asked]
        if over(sorted(asked), 60.0, MESSAGES_PER_MINUTE):
            self._reply(socket, "error", f"Cannot send more than {MESSAGES_PER_MINUTE} messages per minute.")
        elif request == {"method": "ping"}:
            socket.beat = time.monotonic()
            socket.text(b'{"channel":"pong"}')
        elif request.get("method") in ("subscribe", "unsubscribe"):
            self._about(socket, request["method"], request.get("subscription"))
        else:
            self._reply(socket, "error", f"Error parsing JSON into valid websocket request: {raw}")

    def _about(self, socket: Socket, method: str, told: Any) -> None:
        about = Subscription(told["type"], told.get("coin", ""), told.get("interval", ""), told.get("fast"))
        words = json.dumps(told, separators=(",", ":"))
        known = about.type in (*KINDS, "activeAssetCtx") or (about.type, about.interval[-1:]) == ("candle", "m")
        if not known or about.coin not in self.markets:
            self._reply(socket, "error", f"Invalid subscription {words}")
        elif method == "unsubscribe" and about.key not in socket.streams:
            self._reply(socket, "error", f"Already unsubscribed: {words}")
        elif method == "subscribe" and about.key in socket.streams:
            self._reply(socket, "error", f"Already subscribed: {words}")
        elif method == "subscribe" and sum(len(one.streams) for one in self.sockets) >= SUBSCRIPTIONS:
            self._reply(socket, "error", f"Cannot subscribe to more than {SUBSCRIPTIONS} channels.")
        else:
            extra = {"nSigFigs": None, "mantissa": None, "fast": None} if about.type == "l2Book" else {}
            self._reply(socket, "subscriptionResponse", {"method": method, "subscription": extra | told})
            if method == "unsubscribe":
                socket.streams.discard(about.key)
            else:
                self._begin(socket, about)

    def _begin(self, socket: Socket, about: Subscription) -> None:
        """What is sent at once: the last trades, the book, the best prices, the state."""
        socket.streams.add(about.key)
        socket.muted.discard(about.key)
        self.wanted(about.coin, KINDS.get(about.type))
        market = self.markets[about.coin]
        if about.type == "trades" and market.recent:
            self._reply(socket, "trades", [_trade(market.name, made) for made in market.recent[-FIRST_TRADES:]])
        elif about.type == "l2Book":
            at = self._told.get(market.name) or self.now_ms()
            self._reply(socket, "l2Book", self._book(market, at, fast=bool(about.fast)))
        elif about.type == "bbo":
            self._reply(socket, "bbo", self._best_of(market))
        elif about.type == "activeAssetCtx":
            self._reply(socket, *self._state(market))

    def _reply(self, socket: Socket, channel: str, data: Any) -> None:
        socket.beat = time.monotonic()
        socket.text(_message(channel, data))

    def _tell(self, stream: str, channel: str, data: Any) -> None:
        for socket in self.sockets:
            if stream in socket.streams:
                socket.beat = time.monotonic()
        self.publish(stream, _message(channel, data))

    def on_trade(self, market: Market, made: Made) -> None:
        self._tell(f"trades:{market.name}", "trades", [_trade(market.name, made)])

    def on_change(self, market: Market, change: Change) -> None:
        self._changed.add(market.name)
        self._tell_book(market)
        best = market.best()
        if best != self._best.get(market.name):
            self._best[market.name] = best
            self._tell(f"bbo:{market.name}", "bbo", self._best_of(market))

    def _tell_book(self, market: Market) -> None:
        """The book, if that is due; each has another time."""
        before = self._told.get(market.name, 0)
        at = max(self.now_ms(), before + 1)
        if at - before >= self.book_ms:
            self._told[market.name] = at
            self._changed.discard(market.name)
            for stream, fast in ((STREAM, False), (FAST, True)):
                self._tell(f"{stream}:{market.name}", "l2Book", self._book(market, at, fast=fast))

    def on_candle(self, market: Market, candle: Candle) -> None:
        if candle.closed:
            self._kept.setdefault(market.name, []).append(candle)
        self._tell(f"candle1m:{market.name}", "candle", _candle(market, candle))

    def on_second(self, market: Market) -> None:
        self._tell(f"activeAssetCtx:{market.name}", *self._state(market))

    def _book(self, market: Market, at: int, *, fast: bool) -> dict[str, Any]:
        levels = [[_level(*one) for one in side] for side in market.levels(FAST_LEVELS if fast else LEVELS)]
        return {"coin": market.name, "time": at, "levels": levels} | ({"fast": True} if fast else {})

    def _best_of(self, market: Market) -> dict[str, Any]:
        return {"coin": market.name, "time": self.now_ms(), "bbo": [_level(*one) for one in market.best()]}

    def _state(self, market: Market) -> tuple[str, Any]:
        price = market.price(market.last_price)
        ctx = {"prevDayPx": price, "dayNtlVlm": "81.3", "markPx": price, "midPx": price, "dayBaseVlm": "19.8"}
        if _is_spot(market.name):
            ctx |= {"circulatingSupply": "298.4", "totalSupply": "998.8", "coin": market.name}
            return "activeSpotAssetCtx", {"coin": market.name, "ctx": ctx}
        ctx |= {"funding": "0.0000125", "openInterest": "63.9", "oraclePx": price}
        return "activeAssetCtx", {"coin": market.name, "ctx": ctx}

    # REST.

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await HyperliquidServer.answer(self, request)

    def info_candleSnapshot(self, about: Any) -> Any:  # noqa: N802 - the venue's word
        market = self.markets[about["coin"]]
        kept = [*self._kept.get(market.name, []), *([market.candle] if market.candle else [])]
        inside = [one for one in kept if about["startTime"] < one.start + 60_000 and one.start <= about["endTime"]]
        return [_candle(market, one) for one in inside[:ROWS]]

    def info_recentTrades(self, about: Any) -> Any:  # noqa: N802 - the venue's word
        market = self.markets[about["coin"]]
        return [_trade(market.name, made) for made in reversed(market.recent[-LAST_TRADES:])]


def _is_spot(name: str) -> bool:
    return "/" in name or name.startswith("@")


def _base(name: str) -> str:
    return name.partition("/")[0].replace("@", "T")


def _read(raw: str) -> dict[str, Any]:
    try:
        read = json.loads(raw)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _trade(name: str, made: Made) -> dict[str, Any]:
    told = {"coin": name, "side": "B" if made.side == "buy" else "A", "px": made.price, "sz": made.size}
    return told | {"time": made.ts, "hash": "0x0", "tid": made.number, "users": ["0x1", "0x2"]}


def _level(price: str, size: str) -> dict[str, Any]:
    return {"px": price, "sz": size, "n": 1}


def _candle(market: Market, one: Candle) -> dict[str, Any]:
    open_, close, high, low = (market.price(ticks) for ticks in (one.open, one.close, one.high, one.low))
    told = {"t": one.start, "T": one.start + 59_999, "s": market.name, "i": "1m", "o": open_, "c": close}
    return told | {"h": high, "l": low, "v": market.size(one.volume), "n": one.trades}


def _message(channel: str, data: Any) -> bytes:
    return json.dumps({"channel": channel, "data": data}, separators=(",", ":")).encode()

"""Bybit as a simulated venue: one market, its public socket and REST, on one address.

Names are Bybit's: ABCUSDT is a spot pair or a linear perpetual, ABCUSDT-27DEC30 a linear future, ABCUSD an inverse
perpetual. The pages of REST are those of BybitServer; BybitVenue tells there of what happened on its socket.
"""

import json
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Self

from aiohttp import web

from marketdata_assets.exchanges.bybit.adapter import (
    ARGS_CHARACTERS,
    CONNECTIONS,
    CONNECTIONS_SECONDS,
    PATH,
    TOPICS_PER_REQUEST,
)
from marketdata_assets.exchanges.bybit.history import API
from marketdata_assets.exchanges.bybit.instruments import named
from marketdata_assets.exchanges.bybit.parse import INTERVAL_OF
from marketdata_assets.exchanges.records import MarketType
from marketdata_demo.servers.loopback import ProviderServer, json_answer
from marketdata_demo.venues.live_market import MINUTE, Candle, Change, Happened, Made, Market
from marketdata_demo.venues.venue import Invented, Socket, Venue, changed

HOUR = 60 * MINUTE
EXPIRES = "1924588800000"  # 2030-12-27 08:00
LENGTHS = {"1": MINUTE, "60": HOUR, "D": 24 * HOUR}
KINDS = {"publicTrade": "trade", "orderbook": "book"}
Told = tuple[str, str]  # price and size of a level
DEPTHS = {"1": 1, "50": 50, "200": 200, "1000": 1000}


class BybitServer(ProviderServer):
    """`trades` are in order; `paid` and `kept` are the moments, ms, of funding and of past open interest.

    `page` is how many rows an answer has at most.
    """

    def __init__(self, market_type: MarketType, listed: Sequence[str], **limits: Any) -> None:
        super().__init__(**limits)
        self.market_type, self.listed = market_type, list(listed)
        self.trades: list[Happened] = []
        self.paid: list[int] = []
        self.kept: list[int] = []
        self.first_candle, self.now = 0, 9 * 10**12
        self.page = 1000

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return json_answer({"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "time": 1})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if query.get("category") != self.market_type:
            return json_answer({"retCode": 10001, "retMsg": "category is wrong", "result": {}, "time": 1})
        if query.get("symbol", self.listed[0]) not in self.listed:
            return json_answer({"retCode": 10001, "retMsg": "Not supported symbols", "result": {}, "time": 1})
        path = request.path.removeprefix(API)
        rows = getattr(self, path.replace("-", "_").replace("/", "_"))(query)
        return json_answer(
            {"retCode": 0, "retMsg": "OK", "result": self._part(path, rows, query), "time": self.clock()}
        )

    def clock(self) -> int:
        """The venue's time, ms."""
        return self.now

    def _part(self, path: str, rows: list[Any], query: Any) -> dict[str, Any]:
        """A page; that of instruments names the next one."""
        most = min(int(query["limit"]), self.page)
        if path != "instruments-info":
            return {"category": self.market_type, "list": rows[:most]}
        begin = int(query.get("cursor", 0))
        cursor = str(begin + most) if begin + most < len(rows) else ""
        return {"category": self.market_type, "list": rows[begin : begin + most], "nextPageCursor": cursor}

    def instruments_info(self, query: Any) -> Any:
        return [_listed(self.market_type, name) for name in self.listed]

    def recent_trade(self, query: Any) -> Any:
        fixed = {"symbol": query["symbol"], "price": "4.2", "size": "3", "side": "Buy"}
        return [fixed | {"execId": str(one.number), "time": str(one.ts)} for one in reversed(self.trades)]

    def kline(self, query: Any) -> Any:
        length, first, last = LENGTHS[query["interval"]], int(query["start"]), int(query["end"])
        begin = max(-(-first // length) * length, self.first_candle)
        starts = range(min(last, self.now) // length * length, begin - 1, -length)
        return [[str(start), "4", "5", "3", "4", "100", "410"] for start in starts]

    def funding_history(self, query: Any) -> Any:
        found = _within(query, self.paid)
        return [{"symbol": query["symbol"], "fundingRate": "0.0001", "fundingRateTimestamp": str(at)} for at in found]

    def open_interest(self, query: Any) -> Any:
        assert query["intervalTime"] in ("5min", "1h")
        return [{"openInterest": "200", "timestamp": str(at)} for at in _within(query, self.kept)]


def _within(query: Any, times: Sequence[int]) -> list[int]:
    first, last = int(query["startTime"]), int(query["endTime"])
    return [at for at in reversed(times) if first <= at <= last]


class BybitVenue(Venue, BybitServer):
    """One market. `silence_seconds`: a client that says nothing for so long is cut."""

    socket_path = PATH
    connection_limit = (CONNECTIONS_SECONDS, CONNECTIONS)
    invented: ClassVar[Invented] = {
        "spot": ("ABCUSDT", "DEFUSDT"),
        "linear": ("ABCUSDT", "DEFUSDT"),
        "inverse": ("ABCUSD",),
    }

    @classmethod
    def _of_market(cls, market_type: MarketType, **options: Any) -> Self:
        return cls(market_type, cls.invented[market_type], **options)

    def __init__(
        self, market_type: MarketType, names: Sequence[str], *, silence_seconds: float = 600.0, **options: Any
    ) -> None:
        self.market_type = market_type  # the markets are made from it
        super().__init__(names, market_type=market_type, listed=names, **options)
        self.silence_seconds = silence_seconds
        self._numbers: dict[str, dict[str, int]] = {}  # of the last message of a book, by topic: u and seq
        self._shown: dict[str, tuple[list[Told], list[Told]]] = {}  # what its topic has of a book
        self._kept: dict[str, list[Candle]] = {}  # closed ones

    def market(self, name: str, seed: int, index: int) -> Market:
        return Market(name, seed, index, whole=self.market_type == "inverse")

    def trade_id(self, number: int) -> str:
        """The id of a trade: its number on spot, else a UUID."""
        return str(number) if self.market_type == "spot" else f"20f43950-d8dd-5b31-9112-{number:012}"

    # Sockets.

    def on_tick(self, socket: Socket, now: float) -> None:
        if now - max(socket.heard, socket.beat) > self.silence_seconds:
            self.throw_out(socket, "silence")

    async def message(self, socket: Socket, raw: str) -> None:
        try:
            request = json.loads(raw)
            op, number = request["op"], request.get("req_id", "")
            topics = list(map(str, request.get("args", ())))
        except (ValueError, KeyError, TypeError):
            socket.text(_bytes({"success": False, "ret_msg": "error:invalid request", "conn_id": "1", "op": ""}))
            return
        fault = self._fault(socket, op, topics)
        told = {"success": not fault, "ret_msg": fault or ("pong" if op == "ping" else ""), "conn_id": "1"}
        socket.text(_bytes(told | {"req_id": number, "op": op}))
        if fault:
            return
        for topic in topics:
            if op == "subscribe":
                self._subscribe(socket, topic)
            else:
                socket.streams.discard(topic)

    def _fault(self, socket: Socket, op: str, topics: Sequence[str]) -> str:
        """Why a request is rejected, all of it."""
        if op not in ("subscribe", "unsubscribe", "ping"):
            return "error:invalid op"
        if self.market_type == "spot" and len(topics) > TOPICS_PER_REQUEST:
            return "args size >10"
        if op == "subscribe" and len(json.dumps([*socket.streams, *topics])) > ARGS_CHARACTERS:
            self.violations.append("too many topics on a socket")
            return "error:args too long"
        if not socket.path.endswith(f"/{self.market_type}"):
            return f"error:handler not found,topic:{topics[0]}"
        for topic in topics if op == "subscribe" else ():
            if not self._is_known(topic):
                spot = f"Invalid symbol :[{topic}]"
                return spot if self.market_type == "spot" else f"error:handler not found,topic:{topic}"
            if topic in socket.streams:
                return f"error:already subscribed,topic:{topic}"
        return ""

    def _is_known(self, topic: str) -> bool:
        word, _, detail = topic.rpartition(".")[0].partition(".")
        if topic.rpartition(".")[2] not in self.markets:
            return False
        if word in ("publicTrade", "tickers") or (word == "allLiquidation" and self.market_type != "spot"):
            return not detail
        return (word == "kline" and detail in INTERVAL_OF) or (word == "orderbook" and detail in DEPTHS)

    def _subscribe(self, socket: Socket, topic: str) -> None:
        socket.streams.add(topic)
        socket.muted.discard(topic)
        word, market = topic.partition(".")[0], self.markets[topic.rpartition(".")[2]]
        self.wanted(market.name, KINDS.get(word))
        if word == "orderbook":
            self.begin_book(socket, market, topic)
        elif word == "tickers":
            socket.text(self._pushed(topic, "snapshot", self._ticker(market)))

    def begin_book(self, socket: Socket, market: Market, topic: str) -> None:
        """What is sent to a new subscription of a book."""
        self._numbers.setdefault(topic, {"u": market.last_id, "seq": 10 * market.last_id})
        self._shown[topic] = market.levels(DEPTHS[topic.split(".")[1]])
        socket.text(self._book(topic, "snapshot", *self._shown[topic]))

    def _tell(self, topic: str, raw: bytes) -> None:
        for socket in self.sockets:
            if topic in socket.streams:
                socket.beat = time.monotonic()
        self.publish(topic, raw)

    def on_trade(self, market: Market, made: Made) -> None:
        side = "Buy" if made.side == "buy" else "Sell"
        data = {"T": made.ts, "s": market.name, "S": side, "v": made.size, "p": made.price}
        data |= {"i": self.trade_id(made.number), "BT": False, "seq": made.number}
        topic = f"publicTrade.{market.name}"
        self._tell(topic, self._pushed(topic, "snapshot", [data]))

    def on_change(self, market: Market, change: Change) -> None:
        """Each depth tells what changed within it: a level that leaves it is taken away."""
        for depth, most in DEPTHS.items():
            topic = f"orderbook.{depth}.{market.name}"
            if topic not in self._shown:
                continue
            before, now = self._shown[topic], market.levels(most)
            self._shown[topic] = now
            bids, asks = (changed(*sides) for sides in zip(before, now, strict=True))
            if bids or asks:
                numbers = self._numbers[topic]
                numbers["u"] += 1
                numbers["seq"] += 3
                told = ("snapshot", *now) if most == 1 else ("delta", bids, asks)
                self._tell(topic, self._book(topic, *told))

    def restart(self) -> None:
        """The service begins anew: the next message of every book is a snapshot whose `u` is 1."""
        self.call(self._restart)

    def _restart(self) -> None:
        for topic, numbers in self._numbers.items():
            numbers["u"] = 1
            self._tell(topic, self._book(topic, "snapshot", *self._shown[topic]))

    def on_candle(self, market: Market, candle: Candle) -> None:
        if candle.closed:
            self._kept.setdefault(market.name, []).append(candle)
        prices = map(market.price, (candle.open, candle.high, candle.low, candle.close))
        names = ("open", "high", "low", "close")
        data = {"start": candle.start, "end": candle.start + MINUTE - 1, "interval": "1"}
        data |= dict(zip(names, prices, strict=True))
        data |= {"volume": market.size(candle.volume), "turnover": self._turnover(market, candle)}
        data |= {"confirm": candle.closed, "timestamp": self.now_ms()}
        topic = f"kline.1.{market.name}"
        self._tell(topic, self._pushed(topic, "snapshot", [data]))

    def on_second(self, market: Market) -> None:
        topic, kind = f"tickers.{market.name}", "snapshot"
        ticker = self._ticker(market)
        if self.market_type != "spot":  # a delta: what is left out has not changed
            kind = "delta"
            changing = ("symbol", "lastPrice", "markPrice", "openInterest", "bid1Price", "ask1Price", "fundingRate")
            ticker = {name: ticker[name] for name in changing}
            self._forced(market)
        self._tell(topic, self._pushed(topic, kind, ticker))

    def _forced(self, market: Market) -> None:
        price, topic = market.price(market.last_price), f"allLiquidation.{market.name}"
        data = {"T": self.now_ms(), "s": market.name, "S": "Buy", "v": "2", "p": price}
        self._tell(topic, self._pushed(topic, "snapshot", [data]))

    def _ticker(self, market: Market) -> dict[str, str]:
        price, now = market.price(market.last_price), self.now_ms()
        ticker = {"symbol": market.name, "lastPrice": price, "prevPrice24h": price, "highPrice24h": price}
        ticker |= {"lowPrice24h": price, "volume24h": "20", "turnover24h": "10"}
        if self.market_type == "spot":
            return ticker
        (bid, bid_size), (ask, ask_size) = market.best()
        ticker |= {"bid1Price": bid, "bid1Size": bid_size, "ask1Price": ask, "ask1Size": ask_size}
        ticker |= {"markPrice": price, "indexPrice": price, "openInterest": "200", "openInterestValue": "840"}
        due = (now // (8 * HOUR) + 1) * 8 * HOUR
        return ticker | {"fundingRate": "0.0001", "nextFundingTime": str(due), "fundingIntervalHour": "8"}

    def _book(self, topic: str, kind: str, bids: Sequence[Told], asks: Sequence[Told]) -> bytes:
        now = self.now_ms()
        data = {"s": topic.rpartition(".")[2], "b": bids, "a": asks} | self._numbers[topic]
        return _bytes({"topic": topic, "type": kind, "ts": now, "data": data, "cts": now})

    def _pushed(self, topic: str, kind: str, data: Any) -> bytes:
        return _bytes({"topic": topic, "type": kind, "ts": self.now_ms(), "data": data})

    # REST.

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await BybitServer.answer(self, request)

    def clock(self) -> int:
        return self.now_ms()

    def recent_trade(self, query: Any) -> Any:
        return [
            {"execId": self.trade_id(one.number), "price": one.price, "size": one.size, "time": str(one.ts)}
            | {"symbol": query["symbol"], "side": "Buy" if one.side == "buy" else "Sell"}
            for one in reversed(self.markets[query["symbol"]].recent)
        ]

    def kline(self, query: Any) -> Any:
        market, first, last = self.markets[query["symbol"]], int(query["start"]), int(query["end"])
        kept = [one for one in self._kept.get(market.name, []) if first <= one.start <= last]
        return [self._row(market, one) for one in reversed(kept)]

    def _row(self, market: Market, one: Candle) -> list[str]:
        prices = [market.price(ticks) for ticks in (one.open, one.high, one.low, one.close)]
        return [str(one.start), *prices, market.size(one.volume), self._turnover(market, one)]

    def _turnover(self, market: Market, one: Candle) -> str:
        """The quote currency; of inverse contracts the coins, about."""
        if self.market_type != "inverse":
            return market.worth(one.worth)
        return f"{(Decimal(market.size(one.volume)) / Decimal(market.price(one.close))).quantize(Decimal('1e-8')):f}"


def _listed(market_type: MarketType, name: str) -> dict[str, str]:
    known = named(market_type, name)
    assert known, f"{name} is no name of Bybit"
    entry = {"symbol": name, "status": "Trading", "baseCoin": known.base, "quoteCoin": known.quote}
    if market_type == "spot":
        return entry
    dated = known.symbol != f"{known.base}-{known.quote}"
    kind = f"{market_type.title()}{'Futures' if dated else 'Perpetual'}"
    return entry | {"contractType": kind, "deliveryTime": EXPIRES if dated else "0"}


def _bytes(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()

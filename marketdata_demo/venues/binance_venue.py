"""Binance as a simulated venue: spot, USD-M, COIN-M or options, combined streams and REST on one address.

The pages of REST are those of BinanceServer; here they tell of what happened on the streams.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Self

from aiohttp import web

from marketdata_assets.exchanges.binance.adapter import url_of
from marketdata_assets.exchanges.binance.history import MARKETS
from marketdata_assets.exchanges.binance.instruments import named
from marketdata_assets.exchanges.records import MarketType
from marketdata_demo.servers.loopback import ProviderServer, json_answer
from marketdata_demo.venues.live_market import MINUTE, Candle, Change, Happened, Level, Made, Market
from marketdata_demo.venues.venue import Invented, Socket, Venue, frame, over

HOUR = 60 * MINUTE
NAMES = ("ABCUSDT", "ABCUSD_PERP")
WEIGHTS = {"klines": 5, "aggTrades": 20}


class BinanceServer(ProviderServer):
    """`trades` are in order; `paid` and `kept` are the moments, ms, of funding and of past open interest."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.trades: list[Happened] = []
        self.paid: list[int] = []
        self.kept: list[int] = []
        self.first_candle, self.now = 0, 9 * 10**12

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        message = "Too many requests; current limit is 2400 request weight per 1 MINUTE."
        answer = json_answer({"code": -1003, "msg": message}, 429)
        answer.headers["Retry-After"] = "1"
        return answer

    def cost(self, request: web.Request) -> int:
        return WEIGHTS.get(request.path.rpartition("/")[2], 1)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("symbol", NAMES[0]) not in NAMES:
            return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        if "fromId" in request.query and "startTime" in request.query:
            return json_answer({"code": -1106, "msg": "Parameter 'fromId' sent when not required."}, 400)
        made = getattr(self, request.path.rpartition("/")[2])(request.query)
        return web.Response(text=json.dumps(made))

    def exchangeInfo(self, query: Any) -> Any:  # noqa: N802
        listed = {"baseAsset": "ABC", "contractSize": 10}
        quotes = zip(NAMES, ("USDT", "USD"), strict=True)
        return {"symbols": [listed | {"symbol": name, "quoteAsset": quote} for name, quote in quotes]}

    def openInterest(self, query: Any) -> Any:  # noqa: N802
        return {"symbol": query["symbol"], "openInterest": "12.5", "time": self.now}

    def klines(self, query: Any) -> Any:
        length = {"1m": MINUTE, "1d": 24 * HOUR}[query["interval"]]
        first, last = int(query["startTime"]), int(query["endTime"])
        times = [
            at for at in range(-(-first // length) * length, last + 1, length) if self.first_candle <= at <= self.now
        ]
        assert last - first < 200 * 24 * HOUR or query["symbol"] == NAMES[0]
        return [[at, "1", "3", "1", "2", "5", at + length - 1, "10", 4, "2", "4", "0"] for at in _page(query, times)]

    def aggTrades(self, query: Any) -> Any:  # noqa: N802
        if "fromId" in query:
            found = [one for one in self.trades if one.number >= int(query["fromId"])]
        else:
            first, last = int(query["startTime"]), int(query["endTime"])
            assert last - first < HOUR
            found = [one for one in self.trades if first <= one.ts <= last]
        return [
            {"a": one.number, "p": "1.5", "q": "2", "f": one.number, "l": one.number, "T": one.ts, "m": True}
            for one in _page(query, found)
        ]

    def fundingRate(self, query: Any) -> Any:  # noqa: N802
        first, last = int(query["startTime"]), int(query["endTime"])
        found = _page(query, [at for at in self.paid if first <= at <= last])
        return [
            {"symbol": query["symbol"], "fundingTime": at, "fundingRate": "0.0001", "markPrice": ""} for at in found
        ]

    def openInterestHist(self, query: Any) -> Any:  # noqa: N802
        first, last = int(query["startTime"]), int(query["endTime"])
        times = [at for at in self.kept if first <= at <= last][-int(query["limit"]) :]
        about = {key: query[key] for key in ("symbol", "pair", "contractType") if key in query}
        return [about | {"sumOpenInterest": "7", "sumOpenInterestValue": "9.5", "timestamp": at} for at in times]


def _page(query: Any, found: list[Any]) -> list[Any]:
    assert int(query["limit"]) <= 1000
    return found[: int(query["limit"])]


AGGREGATES_LATER = 500
"""The number of an aggregate trade is so much smaller than that of its one trade, as the two are counted apart."""

CONTRACT = 10  # USD

KINDS = {"optionTrade": "trade", "trade": "trade", "aggTrade": "trade", "depth": "book", "bookTicker": "book"}


class BinanceVenue(Venue, BinanceServer):
    """One market. Streams of the other address of USD-M are confirmed and never sent, as by the venue."""

    socket_path = "stream"
    connection_limit = (300.0, 300)
    invented: ClassVar[Invented] = {
        "spot": ("ABCUSDT", "DEFUSDT"),
        "linear": ("ABCUSDT", "DEFUSDT"),
        "inverse": ("ABCUSD_PERP",),
        "option": ("ABC-301225-100-C", "ABC-301225-100-P"),
    }

    @classmethod
    def _of_market(cls, market_type: MarketType, **options: Any) -> Self:
        return cls(market_type, cls.invented[market_type], **options)

    def __init__(
        self, market_type: MarketType, names: Sequence[str], *, ping_seconds: float = 20.0, **options: Any
    ) -> None:
        self.market_type = market_type
        super().__init__(names, **options)
        self.ping_seconds = ping_seconds
        self._kept: dict[str, list[Candle]] = {}  # closed ones

    def market(self, name: str, seed: int, index: int) -> Market:
        return Market(name, seed, index, skips=self.market_type != "spot", whole=self.market_type == "inverse")

    # Sockets.

    def on_open(self, socket: Socket, request: web.Request) -> None:
        streams = request.query.get("streams", "")
        if streams:
            self._subscribe(socket, streams.split("/"))

    def on_tick(self, socket: Socket, now: float) -> None:
        """A ping frame; a client that answered none since the one before is thrown out."""
        if now - max(socket.beat, socket.opened) >= self.ping_seconds:
            if socket.beat and socket.heard < socket.beat:
                self.throw_out(socket, "no pong")
                return
            socket.beat = now
            socket.write(frame(b"%d" % self.now_ms(), 9))

    async def message(self, socket: Socket, raw: str) -> None:
        """SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS."""
        if over(socket.asked, 1.0, MARKETS[self.market_type].messages_per_second):
            self.throw_out(socket, "too many messages a second")
            return
        try:
            request = json.loads(raw)
            method, number = request["method"], request["id"]
        except (ValueError, KeyError, TypeError):
            socket.text(b'{"error":{"code":3,"msg":"Invalid JSON"}}')
            return
        params = request.get("params", [])
        if method == "SUBSCRIBE":
            self._subscribe(socket, params)
        elif method == "UNSUBSCRIBE":
            socket.streams.difference_update(params)
        answer = sorted(socket.streams) if method == "LIST_SUBSCRIPTIONS" else None
        socket.text(json.dumps({"result": answer, "id": number}, separators=(",", ":")).encode())

    def _subscribe(self, socket: Socket, streams: Sequence[str]) -> None:
        for stream in streams:
            socket.muted.discard(stream)
            if not url_of(self.market_type, stream).endswith(socket.path):
                continue
            socket.streams.add(stream)
            name, _, kind = stream.partition("@")
            if name.upper() in self.markets:
                self.wanted(name.upper(), KINDS.get(kind.partition("@")[0]))
        if len(socket.streams) > MARKETS[self.market_type].streams:
            self.throw_out(socket, f"{len(socket.streams)} streams")

    def _tell(self, market: Market, stream: str, data: str) -> None:
        name = f"{market.name.lower()}@{stream}"
        self.publish(name, f'{{"stream":"{name}","data":{data}}}'.encode())

    def on_trade(self, market: Market, made: Made) -> None:
        if self.market_type == "option":
            values = f'"t":{made.number},"p":"{made.price}","q":"{made.size}","X":"MARKET","S":"{made.side.upper()}"'
            data = f'{{"e":"trade","E":{made.ts},"T":{made.ts},"s":"{market.name}",{values},"m":false}}'
            self._tell(market, "optionTrade", data)
            return
        maker = "false" if made.side == "buy" else "true"
        name, spot = market.name, self.market_type == "spot"
        number = made.number - AGGREGATES_LATER
        head = f'"E":{made.ts},"T":{made.ts},"s":"{name}"' if not spot else f'"E":{made.ts},"s":"{name}"'
        values = f'"t":{made.number},"p":"{made.price}","q":"{made.size}"'
        tail = f'"T":{made.ts},"m":{maker},"M":true' if spot else f'"X":"MARKET","m":{maker}'
        self._tell(market, "trade", f'{{"e":"trade",{head},{values},{tail}}}')
        whole = f'"a":{number},"s":"{name}"' if not spot else f'"s":"{name}","a":{number}'
        rest = f'"p":"{made.price}","q":"{made.size}","f":{made.number},"l":{made.number},"T":{made.ts},"m":{maker}'
        more = ',"M":true' if spot else ""
        self._tell(market, "aggTrade", f'{{"e":"aggTrade","E":{made.ts},{whole},{rest}{more}}}')

    def on_change(self, market: Market, change: Change) -> None:
        ts, pair = change.ts, self._pair(market.name)
        head = (
            f'"E":{ts},"s":"{market.name}"' if self.market_type == "spot" else f'"E":{ts},"T":{ts},"s":"{market.name}"'
        )
        ids = f'"U":{change.first},"u":{change.last}'
        if self.market_type != "spot":
            ids += f',"pu":{change.prev}'
        levels = f'"b":{_levels(change.bids)},"a":{_levels(change.asks)}'
        data = f'{{"e":"depthUpdate",{head}{pair},{ids},{levels}}}'
        for speed in ("depth@100ms", "depth@500ms", "depth"):
            self._tell(market, speed, data)
        (bid, bid_size), (ask, ask_size) = market.best()
        best = f'"u":{change.last},"s":"{market.name}"{pair},"b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"'
        if self.market_type != "spot":
            best = f'"e":"bookTicker",{best},"T":{ts},"E":{ts}'
        self._tell(market, "bookTicker", f"{{{best}}}")

    def on_candle(self, market: Market, candle: Candle) -> None:
        if candle.closed:
            self._kept.setdefault(market.name, []).append(candle)
        row = self._row(market, candle)
        values = {
            **dict(zip("tohlcvTqn", row[:9], strict=True)),
            "s": market.name,
            "i": "1m",
            "V": row[9],
            "Q": row[10],
            "x": candle.closed,
        }
        event = {"e": "kline", "E": self.now_ms(), "s": market.name, "k": values}
        self._tell(market, "kline_1m", json.dumps(event, separators=(",", ":")))

    def on_second(self, market: Market) -> None:
        ts = self.now_ms()
        if self.market_type == "option":
            self._option(market, ts)
            return
        (bid, bid_size), (ask, ask_size) = market.best()
        price = market.price(market.last_price)
        ticker = {"e": "24hrTicker", "E": ts, "s": market.name, "w": price, "c": price, "Q": "1", "o": price}
        if self.market_type == "spot":
            ticker |= {"b": bid, "B": bid_size, "a": ask, "A": ask_size}
        ticker |= {"h": price, "l": price, "v": "10", "q": "20", "n": 3}
        self._tell(market, "ticker", json.dumps(ticker, separators=(",", ":")))
        if self.market_type != "spot":
            mark = {"e": "markPriceUpdate", "E": ts, "s": market.name, "p": price, "i": price, "P": price}
            mark |= {"r": "0.00010000", "T": _next_funding(ts)}
            for speed in ("markPrice", "markPrice@1s"):
                self._tell(market, speed, json.dumps(mark, separators=(",", ":")))
            self._forced(market, ts, price)

    def _option(self, market: Market, ts: int) -> None:
        """Mark price and open interest; a message of Binance has all options on an underlying, or of an expiry."""
        (bid, bid_size), (ask, ask_size) = market.best()
        head = {"s": market.name, "E": ts}
        mark = head | {
            "e": "markPrice",
            "mp": market.price(market.last_price),
            "i": "104334.6",
            "P": "0.000",
            "rf": "0.0",
        }
        mark |= {
            "bo": bid,
            "bq": bid_size,
            "ao": ask,
            "aq": ask_size,
            "b": "-1.0",
            "a": "0.98161161",
            "vo": "0.9408058",
        }
        mark |= {"d": "0.11111964", "t": "-164.26702615", "g": "0.00001245", "v": "30.63855919"}
        interest = head | {"e": "openInterest", "o": "12.5", "h": "1304182.5"}
        base, expiry, *_ = market.name.lower().split("-")
        for stream, event in (("optionMarkPrice", mark), (f"optionOpenInterest@{expiry}", interest)):
            name = f"{base}usdt@{stream}"
            self.publish(name, json.dumps({"stream": name, "data": [event]}, separators=(",", ":")).encode())

    def _forced(self, market: Market, ts: int, price: str) -> None:
        order: dict[str, Any] = {
            "s": market.name,
            "S": "SELL",
            "o": "LIMIT",
            "f": "IOC",
            "q": "1",
            "p": price,
            "ap": price,
        }
        order |= {"X": "FILLED", "l": "1", "z": "1", "T": ts}
        event = json.dumps({"e": "forceOrder", "E": ts, "o": order}, separators=(",", ":"))
        self._tell(market, "forceOrder", event)
        self.publish("!forceOrder@arr", f'{{"stream":"!forceOrder@arr","data":{event}}}'.encode())

    def _pair(self, name: str) -> str:
        return f',"ps":"{name.partition("_")[0]}"' if self.market_type == "inverse" else ""

    # REST.

    async def rest(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("symbol")
        if name is not None and name not in self.markets:
            return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        made = getattr(self, request.path.rpartition("/")[2])(request.query)
        return web.Response(text=json.dumps(made), content_type="application/json")

    def cost(self, request: web.Request) -> int:
        if request.path.endswith("/depth"):
            return MARKETS[self.market_type].snapshot_weights.get(int(request.query.get("limit", "500")), 1)
        return super().cost(request)

    def ping(self, query: Any) -> Any:
        return {}

    def time(self, query: Any) -> Any:
        return {"serverTime": self.now_ms()}

    def exchangeInfo(self, query: Any) -> Any:  # noqa: N802
        listed = [self._listed(name) for name in self.markets]
        return {"optionSymbols" if self.market_type == "option" else "symbols": listed, "rateLimits": []}

    def depth(self, query: Any) -> Any:
        market = self.markets[query["symbol"]]
        bids, asks = market.levels(int(query.get("limit", "500")))
        told = {"lastUpdateId": market.last_id, "bids": bids, "asks": asks}
        if self.market_type != "spot":
            told |= {"E": self.now_ms(), "T": self.now_ms()}
        return told

    def premiumIndex(self, query: Any) -> Any:  # noqa: N802
        rows = [self._premium(market) for market in self.markets.values()]
        wanted = [row for row in rows if query.get("symbol", row["symbol"]) == row["symbol"]]
        return wanted[0] if "symbol" in query and self.market_type == "linear" else wanted

    def openInterest(self, query: Any) -> Any:  # noqa: N802
        return {"symbol": query["symbol"], "openInterest": "12", "time": self.now_ms()}

    def klines(self, query: Any) -> Any:
        market = self.markets[query["symbol"]]
        first, last = int(query.get("startTime", 0)), int(query.get("endTime", 10**15))
        kept = [*self._kept.get(market.name, []), *([market.candle] if market.candle else [])]
        rows = [self._row(market, one) for one in kept if first <= one.start <= last]
        return rows[: int(query.get("limit", 500))]

    def aggTrades(self, query: Any) -> Any:  # noqa: N802
        made = self.markets[query["symbol"]].recent
        if "fromId" in query:
            found = [one for one in made if one.number - AGGREGATES_LATER >= int(query["fromId"])]
        else:
            first, last = int(query.get("startTime", 0)), int(query.get("endTime", 10**15))
            found = [one for one in made if first <= one.ts <= last]
        return [_aggregate(one) for one in found[: min(int(query.get("limit", 500)), 1000)]]

    def _listed(self, name: str) -> dict[str, Any]:
        known = named(self.market_type, name)
        assert known, f"{name} is no name of {self.market_type}"
        if self.market_type == "option":
            told = {"symbol": name, "underlying": known.base + known.quote, "quoteAsset": known.quote, "unit": 1}
            return told | {"expiryDate": self.expiries.get(name, 9_000_000_000_000), "status": "TRADING"}
        perpetual = {"contractType": "PERPETUAL", "pair": name.partition("_")[0], "contractStatus": "TRADING"}
        return {
            "symbol": name,
            "status": "TRADING",
            "baseAsset": known.base,
            "quoteAsset": known.quote,
            **(perpetual if self.market_type != "spot" else {}),
            **({"contractSize": CONTRACT} if self.market_type == "inverse" else {}),
        }

    def _premium(self, market: Market) -> dict[str, Any]:
        price = market.price(market.last_price)
        told = dict.fromkeys(("markPrice", "indexPrice", "estimatedSettlePrice"), price)
        times = {"nextFundingTime": _next_funding(self.now_ms()), "time": self.now_ms()}
        return {"symbol": market.name, **told, "lastFundingRate": "0.00010000", **times}

    def _row(self, market: Market, one: Candle) -> list[Any]:
        prices = [market.price(ticks) for ticks in (one.open, one.high, one.low, one.close)]
        volume, bought = market.size(one.volume), market.size(one.bought)
        worth, bought_worth = market.worth(one.worth), market.worth(one.bought_worth)
        if self.market_type == "inverse":  # the second pair counts coins
            worth, bought_worth = _coins(volume, prices[3]), _coins(bought, prices[3])
        return [one.start, *prices, volume, one.start + MINUTE - 1, worth, one.trades, bought, bought_worth, "0"]


def _levels(levels: tuple[Level, ...]) -> str:
    return "[" + ",".join(f'["{one.price}","{one.size}"]' for one in levels) + "]"


def _aggregate(one: Made) -> dict[str, Any]:
    number = one.number
    values = {"a": number - AGGREGATES_LATER, "p": one.price, "q": one.size, "f": number, "l": number}
    return values | {"T": one.ts, "m": one.side == "sell"}


def _coins(contracts: str, price: str) -> str:
    return f"{(Decimal(contracts) * CONTRACT / Decimal(price)).quantize(Decimal('1e-8')):f}"


def _next_funding(ts: int) -> int:
    return (ts // 28_800_000 + 1) * 28_800_000

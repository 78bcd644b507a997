"""OKX as a simulated venue: the public and the business socket, and REST, for instruments of all kinds on one address.

Names say the kind: ABC-USDT is spot, ABC-USDT-SWAP linear, ABC-USD-SWAP inverse, ABC-USD-301225-100-C an option.
"""

import json
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from aiohttp import web
from msgspec.structs import replace

from marketdata_assets.exchanges.okx.adapter import BUSINESS_URL, CONNECTIONS_PER_SECOND, REQUESTS_PER_HOUR, url_of
from marketdata_assets.exchanges.okx.wire import Arg
from marketdata_demo.servers.loopback import ProviderServer, json_answer
from marketdata_demo.venues.live_market import Candle, Change, Happened, Level, Made, Market
from marketdata_demo.venues.venue import Invented, Socket, Venue, over

API = "/api/v5/"
PAGE = 100
LENGTHS = {"1m": 60_000, "1H": 3_600_000, "1Dutc": 86_400_000}
SPOT = {"instType": "SPOT", "instId": "ABC-USDT", "baseCcy": "ABC", "quoteCcy": "USDT"}
SWAP = {
    "instType": "SWAP",
    "instId": "ABC-USD-SWAP",
    "uly": "ABC-USD",
    "ctType": "inverse",
    "ctVal": "10",
    "ctMult": "1",
    "ctValCcy": "USD",
}
OPTION = {**SWAP, "instType": "OPTION", "instId": "ABC-USD-250328-60-C", "ctType": "", "ctVal": "1", "ctValCcy": "ABC"}
LISTED = [SPOT, SWAP, OPTION]


class OkxServer(ProviderServer):
    """`trades` are in order, `hours` are when something was paid, ms. `page` is how many rows an answer has at most."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.trades: list[Happened] = []
        self.hours: list[int] = []
        self.first_candle, self.now = 0, 10**13
        self.page = PAGE

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return json_answer({"code": "50011", "msg": "Too Many Requests", "data": []}, 429)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        name = query.get("instId")
        if name is not None and name not in {one["instId"] for one in LISTED}:
            return json_answer({"code": "51001", "msg": "Instrument ID does not exist", "data": []})
        path = request.path.removeprefix(API)
        rows = getattr(self, path.rpartition("/")[2].replace("-", "_"))(query)
        if "limit" in query:
            assert int(query["limit"]) <= PAGE
            rows = rows[: min(int(query["limit"]), self.page)]
        return json_answer({"code": "0", "msg": "", "data": rows})

    def underlying(self, query: Any) -> Any:
        return [["ABC-USD"]]

    def instruments(self, query: Any) -> Any:
        kind, family = query["instType"], query.get("instFamily")
        assert (kind == "OPTION") == (family is not None)
        return [one for one in LISTED if one["instType"] == kind and family in (None, one.get("uly"))]

    def open_interest(self, query: Any) -> Any:
        return [{"instId": query["instId"], "oi": "200", "oiCcy": "500", "ts": "1700000000000"}]

    def history_candles(self, query: Any) -> Any:
        length, after = LENGTHS[query["bar"]], int(query["after"])
        last = (min(after, self.now) - 1) // length * length
        starts = range(last, max(self.first_candle, last - 3 * PAGE * length) - 1, -length)
        return [[str(start), "4", "5", "3", "4", "100", "10", "40", "1"] for start in starts]

    def history_trades(self, query: Any) -> Any:
        after = int(query["after"])
        by_time = {"1": False, "2": True}[query["type"]]
        older = [one for one in self.trades if (one.ts if by_time else one.number) < after]
        name = query["instId"]
        fixed = {"instId": name, "px": "4.2", "sz": "3", "side": "buy"}
        return [{**fixed, "tradeId": str(one.number), "ts": str(one.ts)} for one in reversed(older)]

    def funding_rate_history(self, query: Any) -> Any:
        fixed = {"instId": query["instId"], "fundingRate": "0.0002", "realizedRate": "0.0001"}
        return [{**fixed, "fundingTime": str(hour)} for hour in self._older(int(query["after"]))]

    def open_interest_history(self, query: Any) -> Any:
        assert query["period"] == "1H"
        return [[str(hour), "200", "500", "2100"] for hour in self._older(int(query["end"]))]

    def _older(self, after: int) -> list[int]:
        return [hour for hour in reversed(self.hours) if hour < after]


LINEAR_VALUE, INVERSE_VALUE = "0.1", "10"  # of a contract: coins, USD
KINDS = {"trades": "trade", "trades-all": "trade", "books": "book", "bbo-tbt": "book"}


class OkxVenue(Venue, OkxServer):
    """`silence_seconds`: a client that sends and receives nothing for so long is disconnected."""

    socket_path = "/ws/v5/"
    connection_limit = (1.0, CONNECTIONS_PER_SECOND)
    invented: ClassVar[Invented] = {
        "spot": ("ABC-USDT", "DEF-USDT"),
        "linear": ("ABC-USDT-SWAP", "DEF-USDT-SWAP"),
        "inverse": ("ABC-USD-SWAP",),
        "option": ("ABC-USD-301225-100-C", "ABC-USD-301225-100-P"),
    }

    def __init__(self, names: Sequence[str], *, silence_seconds: float = 30.0, **options: Any) -> None:
        super().__init__(names, **options)
        self.silence_seconds = silence_seconds
        self._kept: dict[str, list[Candle]] = {}  # closed ones

    # Sockets.

    def on_tick(self, socket: Socket, now: float) -> None:
        if now - max(socket.heard, socket.beat) > self.silence_seconds:
            self.throw_out(socket, "silence")

    async def message(self, socket: Socket, raw: str) -> None:
        if raw == "ping":
            socket.text(b"pong")
            return
        if over(socket.asked, 3600.0, REQUESTS_PER_HOUR):
            self.throw_out(socket, "too many requests an hour")
            return
        try:
            request = json.loads(raw)
            op, args = request["op"], request["args"]
        except (ValueError, KeyError, TypeError):
            socket.text(_error("60012", f"Invalid request: {raw}"))
            return
        for arg in args:
            self._about(socket, op, arg)

    def _about(self, socket: Socket, op: str, arg: dict[str, str]) -> None:
        about = Arg(arg["channel"], inst_id=arg.get("instId", ""), inst_type=arg.get("instType", ""))
        about = replace(about, inst_family=arg.get("instFamily", ""))
        business = url_of(about) == BUSINESS_URL
        unknown = about.inst_id and not self._exists(about)
        if unknown or business is not socket.path.endswith("business") or not any(list(arg.values())[1:]):
            socket.text(_error("60018", f"Wrong URL or {json.dumps(arg)} doesn't exist."))
            return
        told = {name: value for name, value in arg.items() if about.channel != "liquidation-orders" or name != "instId"}
        socket.text(_bytes({"event": op, "arg": told, "connId": "a4d3ae55"}))
        if op == "unsubscribe":
            socket.streams.discard(str(about))
            return
        socket.streams.add(str(about))
        socket.muted.discard(str(about))
        if about.inst_id in self.markets:
            self.wanted(about.inst_id, KINDS.get(about.channel))
        if about.channel == "books":
            self.begin_book(socket, self.markets[about.inst_id])

    def _exists(self, about: Arg) -> bool:
        if about.channel == "index-tickers":
            return about.inst_id in map(_underlying, self.markets)
        return about.inst_id in self.markets

    def begin_book(self, socket: Socket, market: Market) -> None:
        """What is sent to a new subscription of a book."""
        socket.text(self._snapshot(market))

    def _snapshot(self, market: Market) -> bytes:
        bids, asks = market.levels(400)
        levels = [[[price, size, "0", "1"] for price, size in side] for side in (asks, bids)]
        data = {"asks": levels[0], "bids": levels[1], "ts": str(self.now_ms()), "checksum": 0}
        data |= {"seqId": market.last_id, "prevSeqId": -1}
        return _bytes({"arg": {"channel": "books", "instId": market.name}, "action": "snapshot", "data": [data]})

    def _tell(self, channel: str, market: Market, data: str, action: str = "") -> None:
        text = f'{{"arg":{{"channel":"{channel}","instId":"{market.name}"}},{action}"data":[{data}]}}'
        stream = f"{channel}:{market.name}"
        for socket in self.sockets:
            if stream in socket.streams:
                socket.beat = time.monotonic()
        self.publish(stream, text.encode())

    def on_trade(self, market: Market, made: Made) -> None:
        data = (
            f'{{"instId":"{market.name}","tradeId":"{made.number}","px":"{made.price}","sz":"{made.size}",'
            f'"side":"{made.side}","ts":"{made.ts}","count":"1","source":"0","seqId":{made.number}}}'
        )
        for channel in ("trades", "trades-all"):
            self._tell(channel, market, data)

    def on_change(self, market: Market, change: Change) -> None:
        ids = f'"ts":"{change.ts}","checksum":0,"seqId":{change.last},"prevSeqId":{change.prev}'
        levels = f'{{"asks":{_levels(change.asks)},"bids":{_levels(change.bids)},{ids}}}'
        self._tell("books", market, levels, '"action":"update",')
        (bid, bid_size), (ask, ask_size) = market.best()
        best = f'"asks":[["{ask}","{ask_size}","0","1"]],"bids":[["{bid}","{bid_size}","0","1"]]'
        self._tell("bbo-tbt", market, f'{{{best},"ts":"{change.ts}","seqId":{change.last}}}')

    def on_candle(self, market: Market, candle: Candle) -> None:
        if candle.closed:
            self._kept.setdefault(market.name, []).append(candle)
        self._tell("candle1m", market, json.dumps(self._row(market, candle), separators=(",", ":")))

    def on_second(self, market: Market) -> None:
        ts, price = str(self.now_ms()), market.price(market.last_price)
        (bid, bid_size), (ask, ask_size) = market.best()
        ticker = {"instType": _kind(market.name), "instId": market.name, "last": price, "lastSz": "1", "askPx": ask}
        ticker |= {"askSz": ask_size, "bidPx": bid, "bidSz": bid_size, "open24h": price, "high24h": price}
        ticker |= {"low24h": price, "volCcy24h": "20", "vol24h": "10", "ts": ts}
        self._tell("tickers", market, json.dumps(ticker))
        kind = _kind(market.name)
        if kind != "SPOT":
            self._tell("open-interest", market, json.dumps(self._interest(market)))
            mark = {"instType": kind, "instId": market.name, "markPx": price, "ts": ts}
            self._tell("mark-price", market, json.dumps(mark))
        if kind == "SWAP":
            self._tell("funding-rate", market, json.dumps(self._rate(market)))
            index = _underlying(market.name)
            data = [{"instId": index, "idxPx": price, "open24h": price, "ts": ts}]
            arg = {"channel": "index-tickers", "instId": index}
            self.publish(f"index-tickers:{index}", _bytes({"arg": arg, "data": data}))
            self._forced(market, price, ts)
        if kind == "OPTION":
            self._summary(market, price, ts)

    def _summary(self, market: Market, forward: str, ts: str) -> None:
        """The greeks of an option; a message of OKX has many of a family."""
        family = _underlying(market.name)
        told = {"instType": "OPTION", "instId": market.name, "uly": family, "fwdPx": forward, "ts": ts}
        told |= {"delta": "0.19", "gamma": "4.7", "vega": "0.0002", "theta": "-0.004", "volLv": "0.7", "realVol": ""}
        told |= {"deltaBS": "0.2038", "gammaBS": "0.0013", "vegaBS": "0.7647", "thetaBS": "-16.47"}
        told |= {"markVol": "0.7795", "bidVol": "0.7422", "askVol": ""}
        arg = {"channel": "opt-summary", "instFamily": family}
        self.publish(f"opt-summary:{family}", _bytes({"arg": arg, "data": [told]}))

    def _forced(self, market: Market, price: str, ts: str) -> None:
        details = [{"bkPx": price, "side": "sell", "posSide": "long", "sz": "2", "ts": ts, "bkLoss": "0", "ccy": ""}]
        data = [{"instId": market.name, "instType": "SWAP", "uly": _underlying(market.name), "details": details}]
        arg = {"channel": "liquidation-orders", "instType": "SWAP"}
        self.publish("liquidation-orders:SWAP", _bytes({"arg": arg, "data": data}))

    # REST.

    async def rest(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        name = query.get("instId")
        if name is not None and name not in self.markets:
            return json_answer({"code": "51001", "msg": "Instrument ID does not exist", "data": []})
        path = request.path.removeprefix(API)
        rows = getattr(self, path.rpartition("/")[2].replace("-", "_"))(query)
        most = min(int(query.get("limit", 100)), self.page)
        return json_answer({"code": "0", "msg": "", "data": rows if path.startswith("public/inst") else rows[:most]})

    def time(self, query: Any) -> Any:
        return [{"ts": str(self.now_ms())}]

    def underlying(self, query: Any) -> Any:
        return [sorted({_underlying(name) for name in self.markets if _kind(name) == query["instType"]})]

    def instruments(self, query: Any) -> Any:
        kind, family = query["instType"], query.get("instFamily")
        names = [name for name in self.markets if _kind(name) == kind and family in (None, _underlying(name))]
        return [_listed(name) | {"expTime": str(self.expiries.get(name, ""))} for name in names]

    def open_interest(self, query: Any) -> Any:
        wanted = [name for name in self.markets if _kind(name) != "SPOT" and query.get("instId", name) == name]
        return [self._interest(self.markets[name]) for name in wanted]

    def funding_rate(self, query: Any) -> Any:
        return [self._rate(self.markets[query["instId"]])]

    def history_trades(self, query: Any) -> Any:
        made, by_time = self.markets[query["instId"]].recent, query.get("type") == "2"
        after = int(query.get("after", 10**18))
        older = [one for one in made if (one.ts if by_time else one.number) < after]
        return [
            {"instId": query["instId"], "px": one.price, "sz": one.size, "side": one.side}
            | {"tradeId": str(one.number), "ts": str(one.ts)}
            for one in reversed(older[-self.page :])
        ]

    def history_candles(self, query: Any) -> Any:
        market, after = self.markets[query["instId"]], int(query.get("after", 10**18))
        kept = [one for one in self._kept.get(market.name, []) if one.start < after]
        return [self._row(market, one) for one in reversed(kept)]

    candles = history_candles

    def _interest(self, market: Market) -> dict[str, str]:
        told = {"instId": market.name, "instType": _kind(market.name), "oi": "200", "oiCcy": "500", "oiUsd": "2100"}
        return told | {"ts": str(self.now_ms())}

    def _rate(self, market: Market) -> dict[str, str]:
        now = self.now_ms()
        due = (now // 28_800_000 + 1) * 28_800_000
        rate = {"instId": market.name, "instType": "SWAP", "fundingRate": "0.0001", "nextFundingRate": ""}
        return rate | {
            "premium": "-0.0003",
            "fundingTime": str(due),
            "nextFundingTime": str(due + 28_800_000),
            "ts": str(now),
        }

    def _row(self, market: Market, one: Candle) -> list[str]:
        prices = [market.price(ticks) for ticks in (one.open, one.high, one.low, one.close)]
        volume, worth = market.size(one.volume), market.worth(one.worth)
        if _kind(market.name) == "SPOT":
            volumes = [volume, worth, worth]
        elif market.name.endswith("-USD-SWAP"):
            usd = Decimal(volume) * int(INVERSE_VALUE)
            volumes = [volume, f"{(usd / Decimal(prices[3])).quantize(Decimal('1e-8')):f}", f"{usd:f}"]
        else:
            value = Decimal(LINEAR_VALUE)
            volumes = [volume, f"{Decimal(volume) * value:f}", f"{Decimal(worth) * value:f}"]
        return [str(one.start), *prices, *volumes, "1" if one.closed else "0"]


def _kind(name: str) -> str:
    last = name.rpartition("-")[2]
    if last in ("C", "P"):
        return "OPTION"
    return "FUTURES" if last.isdigit() else "SWAP" if last == "SWAP" else "SPOT"


def _underlying(name: str) -> str:
    return "-".join(name.split("-")[:2])


def _listed(name: str) -> dict[str, str]:
    base, _, quote = _underlying(name).partition("-")
    common = {"instType": _kind(name), "instId": name, "state": "live"}
    if _kind(name) == "SPOT":
        return common | {"baseCcy": base, "quoteCcy": quote}
    if _kind(name) == "OPTION":
        value = {"ctVal": "1", "ctMult": "0.01", "ctValCcy": base, "ctType": ""}
        return common | value | {"uly": _underlying(name), "instFamily": _underlying(name)}
    inverse = quote == "USD"
    value = {"ctVal": INVERSE_VALUE if inverse else LINEAR_VALUE, "ctMult": "1", "ctValCcy": quote if inverse else base}
    return common | value | {"uly": _underlying(name), "ctType": "inverse" if inverse else "linear"}


def _levels(levels: tuple[Level, ...]) -> str:
    told = (f'["{one.price}","{"0" if one.action == "delete" else one.size}","0","1"]' for one in levels)
    return "[" + ",".join(told) + "]"


def _error(code: str, message: str) -> bytes:
    return _bytes({"event": "error", "code": code, "msg": message, "connId": "a4d3ae55"})


def _bytes(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()

"""Deribit as a simulated venue: JSON-RPC over one socket with heartbeats, and REST.

Names say the kind: ABC-PERPETUAL is inverse (amounts in USD), ABC_USDC-PERPETUAL linear, ABC_USDC spot.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from aiohttp import web

from marketdata_assets.exchanges.deribit.adapter import CHANNELS_PER_CONNECTION, CONNECTIONS_PER_IP
from marketdata_assets.exchanges.deribit.parse import INTERVALS as RESOLUTIONS
from marketdata_demo.servers.loopback import ProviderServer, json_answer
from marketdata_demo.venues.deribit_messages import FUNDING, LISTED, SUMMARY, trade
from marketdata_demo.venues.live_market import MINUTE, Candle, Change, Happened, Level, Made, Market
from marketdata_demo.venues.venue import Invented, Socket, Venue, over

HOUR = 60 * MINUTE


class DeribitServer(ProviderServer):
    """`trades` are in order. `largest_page` is how many of them an answer has at most, `candles` how many candles."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.trades: list[Happened] = []
        self.hours: list[int] = []  # ms
        self.first_candle = 0  # ms
        self.now = 10**13
        self.largest_page, self.candles = 1000, 1000

    async def line(self, request: web.Request) -> str:
        return request.raw_path

    def too_many(self, limit: str) -> web.StreamResponse:
        return self.error(400, 10028, "too_many_requests")

    def error(self, status: int, code: int, message: str) -> web.StreamResponse:
        return json_answer({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "testnet": False}, status)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        method = request.path.rpartition("/")[2]
        name = request.query.get("instrument_name", "")
        if name and not any(one["instrument_name"] == name for one in LISTED):
            return self.error(400, 13020, "instrument_not_found")
        made = getattr(self, method)(request.query)
        return web.Response(text=json.dumps({"jsonrpc": "2.0", "result": made, "usIn": 1, "usOut": 2}))

    def get_instruments(self, query: Any) -> Any:
        return LISTED

    def get_book_summary_by_instrument(self, query: Any) -> Any:
        return [SUMMARY | {"instrument_name": query["instrument_name"]}]

    def get_last_trades_by_instrument_and_time(self, query: Any) -> Any:
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        return self._some(query, [one for one in self.trades if first <= one.ts <= last])

    def get_last_trades_by_instrument(self, query: Any) -> Any:
        return self._some(query, [one for one in self.trades if one.number >= int(query["start_seq"])])

    def _some(self, query: Any, found: list[Happened]) -> Any:
        assert query["sorting"] == "asc"
        assert int(query["count"]) <= 1000
        page = found[: min(int(query["count"]), self.largest_page)]
        name = query["instrument_name"]
        rows = [
            trade(instrument_name=name, timestamp=one.ts, trade_seq=one.number, trade_id=f"ABC-{one.number}")
            for one in page
        ]
        return {"trades": rows, "has_more": len(page) < len(found)}

    def get_tradingview_chart_data(self, query: Any) -> Any:
        length = 24 * HOUR if query["resolution"] == "1D" else int(query["resolution"]) * MINUTE
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        ticks = [
            tick
            for tick in range(first - first % length, last + 1, length)  # includes the candle in progress at the start
            if self.first_candle <= tick <= self.now
        ]
        ticks = ticks[-self.candles :]
        columns = {name: [100.5] * len(ticks) for name in ("open", "high", "low", "close", "volume", "cost")}
        return {"status": "ok" if ticks else "no_data", "ticks": ticks, **columns}

    def get_funding_rate_history(self, query: Any) -> Any:
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        found = [FUNDING | {"timestamp": hour} for hour in self.hours if first <= hour <= last]
        return list(reversed(found))[:744]


KINDS = {"trades": "trade", "book": "book", "quote": "book", "chart": None, "ticker": None}
INTERVALS = ("100ms", "agg2")
NEVER = 32_503_708_800_000  # ms, when perpetuals expire
RAW_NEEDS_LOGIN = {"code": 13778, "message": "raw_subscriptions_not_available_for_unauthorized"}


class DeribitVenue(Venue, DeribitServer):
    """`heartbeat_seconds` takes the place of the interval that a client asks for, of which 10 is the shortest."""

    socket_path = "/ws/api/v2"
    invented: ClassVar[Invented] = {
        "spot": ("ABC_USDC",),
        "linear": ("ABC_USDC-PERPETUAL",),
        "inverse": ("ABC-PERPETUAL", "DEF-PERPETUAL"),
        "option": ("ABC-25DEC30-100-C", "ABC-25DEC30-100-P"),
    }

    def __init__(self, names: Sequence[str], *, heartbeat_seconds: float | None = None, **options: Any) -> None:
        super().__init__(names, **options)
        self.heartbeat_seconds = heartbeat_seconds
        self.states: dict[str, str] = {}  # of instruments, where they are not open
        self.listings = 0  # lists that were asked for
        self._kept: dict[str, list[Candle]] = {}  # closed ones

    def market(self, name: str, seed: int, index: int) -> Market:
        return Market(name, seed, index, whole=_inverse(name))

    # Sockets.

    def on_open(self, socket: Socket, request: web.Request) -> None:
        if len(self.sockets) > CONNECTIONS_PER_IP:
            self.throw_out(socket, f"{len(self.sockets)} sockets at once")

    def on_tick(self, socket: Socket, now: float) -> None:
        """Heartbeats, once asked for; every other one is a question, and who does not answer is cut."""
        if not socket.interval or now - socket.beat < socket.interval:
            return
        if socket.owes:
            self.throw_out(socket, "a test_request was not answered")
            return
        socket.beat, socket.beats = now, socket.beats + 1
        socket.owes = socket.beats % 2 == 0
        kind = "test_request" if socket.owes else "heartbeat"
        socket.text(_bytes({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}}))

    async def message(self, socket: Socket, raw: str) -> None:
        try:
            request = json.loads(raw)
            method, params = request["method"], request.get("params", {})
        except (ValueError, KeyError, TypeError):
            socket.text(_bytes({"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}}))
            return
        made: Any = {"error": {"code": -32601, "message": "Method not found"}}
        snapshots: list[bytes] = []
        if method == "public/subscribe":
            made, snapshots = self._subscribe(socket, params["channels"])
        elif method == "public/unsubscribe":
            socket.streams.difference_update(params["channels"])
            made = {"result": params["channels"]}
        elif method == "public/set_heartbeat":
            socket.interval = self.heartbeat_seconds or max(10.0, float(params["interval"]))
            socket.beat, made = socket.heard, {"result": "ok"}
        elif method == "public/test":
            socket.owes, made = False, {"result": {"version": "1.2.26"}}
        socket.text(_bytes({"jsonrpc": "2.0", "id": request.get("id"), **made, "usIn": 1, "usOut": 2, "usDiff": 1}))
        for snapshot in filter(None, snapshots):
            socket.text(snapshot)

    def _subscribe(self, socket: Socket, channels: Sequence[str]) -> tuple[Any, list[bytes]]:
        """The answer, which names the channels that exist, and the snapshots that follow it."""
        if over(socket.asked, 1.0, 10):
            return {"error": {"code": 10028, "message": "too_many_requests"}}, []
        if any(channel.endswith(".raw") for channel in channels):
            return {"error": RAW_NEEDS_LOGIN}, []
        granted = [channel for channel in channels if self._exists(channel)]
        fresh = [channel for channel in granted if channel not in socket.streams]
        socket.streams.update(granted)
        socket.muted.difference_update(granted)
        if len(socket.streams) > CHANNELS_PER_CONNECTION:
            self.throw_out(socket, f"{len(socket.streams)} channels")
        for channel in granted:
            kind, name = _of(channel)
            self.wanted(name, KINDS[kind])
        return {"result": granted}, [self.first_of(channel) for channel in fresh if channel.startswith("book.")]

    def _exists(self, channel: str) -> bool:
        kind, name = _of(channel)
        resolution = channel.rpartition(".")[2]
        return kind in KINDS and name in self.markets and (kind != "chart" or resolution in RESOLUTIONS)

    def first_of(self, channel: str) -> bytes:
        """What is sent to a new subscription of a book."""
        return self._snapshot(channel)

    def _snapshot(self, channel: str) -> bytes:
        market = self.markets[_of(channel)[1]]
        bids, asks = ([f'["new",{price},{size}]' for price, size in side] for side in market.levels())
        head = f'"type":"snapshot","timestamp":{self.now_ms()},"instrument_name":"{market.name}"'
        data = f'{{{head},"change_id":{market.last_id},"bids":[{",".join(bids)}],"asks":[{",".join(asks)}]}}'
        return _notification(channel, data)

    def _tell(self, channel: str, data: str) -> None:
        self.publish(channel, _notification(channel, data))

    def on_trade(self, market: Market, made: Made) -> None:
        data = "[" + json.dumps(_trade(market, made), separators=(",", ":")) + "]"
        for interval in INTERVALS:
            self._tell(f"trades.{market.name}.{interval}", _plain(data))

    def on_change(self, market: Market, change: Change) -> None:
        head = f'"type":"change","timestamp":{change.ts},"prev_change_id":{change.prev},"change_id":{change.last}'
        levels = f'"bids":{_levels(change.bids)},"asks":{_levels(change.asks)}'
        data = f'{{{head},"instrument_name":"{market.name}",{levels}}}'
        for interval in INTERVALS:
            self._tell(f"book.{market.name}.{interval}", data)
        (bid, bid_size), (ask, ask_size) = market.best()
        prices = (
            f'"best_bid_price":{bid},"best_bid_amount":{bid_size},"best_ask_price":{ask},"best_ask_amount":{ask_size}'
        )
        self._tell(f"quote.{market.name}", f'{{"timestamp":{change.ts},"instrument_name":"{market.name}",{prices}}}')

    def on_candle(self, market: Market, candle: Candle) -> None:
        """Deribit does not say when a candle is closed: its last state is all there is."""
        if candle.closed:
            self._kept.setdefault(market.name, []).append(candle)
        names = ("tick", "open", "high", "low", "close", "volume", "cost")
        row = ",".join(f'"{name}":{value}' for name, value in zip(names, self._row(market, candle), strict=True))
        self._tell(f"chart.trades.{market.name}.1", f"{{{row}}}")

    def on_second(self, market: Market) -> None:
        for interval in INTERVALS:
            self._tell(f"ticker.{market.name}.{interval}", self._state(market))

    def _state(self, market: Market) -> str:
        price = market.price(market.last_price)
        (bid, bid_size), (ask, ask_size) = market.best()
        told = {"timestamp": self.now_ms(), "instrument_name": f'"{market.name}"', "state": '"open"'}
        told |= dict.fromkeys(("last_price", "mark_price", "index_price", "settlement_price"), price)
        told |= {"best_bid_price": bid, "best_bid_amount": bid_size, "best_ask_price": ask, "best_ask_amount": ask_size}
        told |= {"stats": f'{{"volume":1.5,"volume_usd":150.0,"volume_notional":150.0,"low":{price},"high":{price}}}'}
        if "PERPETUAL" in market.name:
            told |= {"open_interest": 1000, "current_funding": "0.0", "funding_8h": "6.5e-6"}
        if market.name.endswith(("-C", "-P")):
            told |= {"open_interest": 20.5, "underlying_price": price, "underlying_index": '"SYN.ABC"'}
            told |= {"bid_iv": 58.4, "ask_iv": 66.9, "mark_iv": 63.2, "interest_rate": 0}
            told |= {"greeks": '{"vega":3.885,"theta":-28.34,"rho":0.662,"gamma":5.8e-4,"delta":-0.63}'}
        return "{" + ",".join(f'"{name}":{value}' for name, value in told.items()) + "}"

    # REST.

    async def rest(self, request: web.Request) -> web.StreamResponse:
        method, name = request.path.rpartition("/")[2], request.query.get("instrument_name", "")
        if name and name not in self.markets:
            return self.error(400, 13020, "instrument_not_found")
        made = getattr(self, method)(request.query)
        text = made if isinstance(made, str) else _plain(json.dumps(made))
        whole = f'{{"jsonrpc":"2.0","result":{text},"usIn":1,"usOut":2}}'
        return web.Response(text=whole, content_type="application/json")

    def get_time(self, query: Any) -> Any:
        return self.now_ms()

    def test(self, query: Any) -> Any:
        return {"version": "1.2.26"}

    def get_instruments(self, query: Any) -> Any:
        self.listings += 1
        states = {name: self.states.get(name, "open") for name in self.markets}
        expiries = {name: self.expiries.get(name, NEVER) for name in self.markets}
        return [
            _listed(name) | {"state": states[name], "expiration_timestamp": expiries[name]} for name in self.markets
        ]

    def ticker(self, query: Any) -> Any:
        return self._state(self.markets[query["instrument_name"]])

    def get_order_book(self, query: Any) -> Any:
        market = self.markets[query["instrument_name"]]
        bids, asks = (",".join(f"[{p},{s}]" for p, s in side) for side in market.levels(int(query.get("depth", 5))))
        return f'{self._state(market)[:-1]},"change_id":{market.last_id},"bids":[{bids}],"asks":[{asks}]}}'

    def get_last_trades_by_instrument_and_time(self, query: Any) -> Any:
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        return self._page_of(query, lambda one: first <= one.ts <= last)

    def get_last_trades_by_instrument(self, query: Any) -> Any:
        return self._page_of(query, lambda one: one.number >= int(query.get("start_seq", 0)))

    def get_tradingview_chart_data(self, query: Any) -> Any:
        market = self.markets[query["instrument_name"]]
        first, last = int(query["start_timestamp"]), int(query["end_timestamp"])
        rows = [self._row(market, one) for one in self._kept.get(market.name, []) if first <= one.start <= last]
        names = ("ticks", "open", "high", "low", "close", "volume", "cost")
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        told = ",".join(f'"{name}":[{",".join(map(str, one))}]' for name, one in zip(names, columns, strict=True))
        return f'{{"status":"{"ok" if rows else "no_data"}",{told}}}'

    def _page_of(self, query: Any, wanted: Any) -> Any:
        market = self.markets[query["instrument_name"]]
        found = [one for one in market.recent if wanted(one)]
        page = found[: min(int(query["count"]), self.largest_page)]
        return {"trades": [_trade(market, one) for one in page], "has_more": len(page) < len(found)}

    def _row(self, market: Market, one: Candle) -> list[Any]:
        """Volume is in coins, cost in the currency of the price; inverse sizes are USD."""
        prices = [market.price(ticks) for ticks in (one.open, one.high, one.low, one.close)]
        volume, cost = market.size(one.volume), market.worth(one.worth)
        if _inverse(market.name):
            volume, cost = f"{(Decimal(volume) / Decimal(prices[3])).quantize(Decimal('1e-8')):f}", volume
        return [one.start, *prices, volume, cost]


def _inverse(name: str) -> bool:
    return name.endswith("-PERPETUAL") and "_" not in name


def _of(channel: str) -> tuple[str, str]:
    """Its kind and its instrument."""
    kind, _, rest = channel.partition(".")
    if kind == "chart":
        rest = rest.removeprefix("trades.")
    return kind, rest.partition(".")[0]


def _trade(market: Market, made: Made) -> dict[str, Any]:
    """Numbers are texts behind a mark, see _plain."""
    price = f"#{made.price}#"
    told = {"trade_seq": made.number, "trade_id": f"{_base(market.name)}-{made.number}", "timestamp": made.ts}
    told |= {"tick_direction": 0, "price": price, "mark_price": price, "instrument_name": market.name}
    return told | {"index_price": price, "direction": made.side, "amount": f"#{made.size}#"}


def _plain(text: str) -> str:
    """Numbers with all their digits, which JSON of floats would not keep."""
    return text.replace('"#', "").replace('#"', "")


def _listed(name: str) -> dict[str, Any]:
    if name.endswith(("-C", "-P")):
        told = {"instrument_name": name, "kind": "option", "is_active": True, "contract_size": 1.0}
        currencies = {"base_currency": _base(name), "quote_currency": _base(name), "counter_currency": "USD"}
        return told | currencies | {"instrument_type": "reversed"}
    quote = "USD" if _inverse(name) else "USDC"
    told = {"instrument_name": name, "kind": "future" if "PERPETUAL" in name else "spot", "is_active": True}
    told |= {"base_currency": _base(name), "quote_currency": quote, "counter_currency": quote}
    kind, size = ("reversed", 10.0) if _inverse(name) else ("linear", 0.1)
    return told | {"instrument_type": kind, "contract_size": size, "settlement_period": "perpetual"}


def _base(name: str) -> str:
    return name.partition("-")[0].partition("_")[0]


def _levels(levels: tuple[Level, ...]) -> str:
    told = (f'["{one.action}",{one.price},{"0.0" if one.action == "delete" else one.size}]' for one in levels)
    return "[" + ",".join(told) + "]"


def _notification(channel: str, data: str) -> bytes:
    head = '{"jsonrpc":"2.0","method":"subscription"'
    return f'{head},"params":{{"channel":"{channel}","data":{data}}}}}'.encode()


def _bytes(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()

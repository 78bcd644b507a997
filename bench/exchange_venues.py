"""The shaped messages of Binance as other venues send the same market: one function and one pair of types for each.

There a book begins with a message of the socket, so no snapshot is asked for.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from bench.exchange_messages import START_MS, Messages, as_json
from marketdata_assets.exchanges.records import MarketType

DATA = TypeVar("DATA")
Levels = list[tuple[str, str]]

MARKETS: dict[str, MarketType] = {"binance": "spot", "bybit": "linear", "okx": "spot", "deribit": "linear"}
BYBIT, OKX, DERIBIT = "BTCUSDT", "BTC-USDT", "BTC_USDC-PERPETUAL"


def as_bybit(messages: Messages) -> Messages:
    """As Bybit's linear market."""

    def told(topic: str, kind: str, ts: int, data: Any) -> bytes:
        return as_json({"topic": topic, "type": kind, "ts": ts, "data": data, "cts": ts})

    books = []
    for number, one in enumerate(_books(messages)):
        sides = {side: _zeros(one[side]) for side in ("b", "a")}
        data = {"s": BYBIT} | sides | {"u": number + 1, "seq": 3 * number + 3}
        books.append(told(f"orderbook.1000.{BYBIT}", "delta" if number else "snapshot", one["E"], data))
    trades = []
    for one in map(_data, messages.trades):
        ids = {"i": f"20f43950-d8dd-5b31-9112-{one['a']:012}", "BT": False, "RPI": False, "seq": one["a"]}
        trade = {"T": one["T"], "s": BYBIT, "S": "Sell" if one["m"] else "Buy", "v": one["q"], "p": one["p"]}
        trades.append(told(f"publicTrade.{BYBIT}", "snapshot", one["E"], [trade | {"L": "PlusTick"} | ids]))
    return Messages("bybit", trades, books, b"", "bybit")


def as_okx(messages: Messages) -> Messages:
    """As OKX's spot market; since 2026 its checksum says nothing."""

    def told(channel: str, **content: Any) -> bytes:
        return as_json({"arg": {"channel": channel, "instId": OKX}} | content)

    books = []
    for number, one in enumerate(_books(messages)):
        sides = {
            name: [(*level, "0", "1") for level in _zeros(one[side])] for name, side in (("asks", "a"), ("bids", "b"))
        }
        ids = {"ts": str(one["E"]), "checksum": 0, "prevSeqId": number or -1, "seqId": number + 1}
        books.append(told("books", action="update" if number else "snapshot", data=[sides | ids]))
    trades = []
    for one in map(_data, messages.trades):
        trade = {"instId": OKX, "tradeId": str(one["a"]), "px": one["p"], "sz": one["q"]}
        side = "sell" if one["m"] else "buy"
        trades.append(told("trades", data=[trade | {"side": side, "ts": str(one["T"]), "count": "1"}]))
    return Messages("okx", trades, books, b"", "okx")


def as_deribit(messages: Messages) -> Messages:
    """As Deribit's linear market, whose levels say what happened to them."""

    def told(channel: str, data: Any) -> bytes:
        params = {"channel": f"{channel}.{DERIBIT}.raw", "data": data}
        return as_json({"jsonrpc": "2.0", "method": "subscription", "params": params})

    books, there = [], set[str]()
    for number, one in enumerate(_books(messages)):
        sides = {name: list(_changes(one[side], there)) for name, side in (("bids", "b"), ("asks", "a"))}
        kind = {"type": "change", "prev_change_id": number} if number else {"type": "snapshot"}
        about = {"timestamp": one["E"], "instrument_name": DERIBIT, "change_id": number + 1}
        books.append(told("book", kind | about | sides))
    trades = []
    for one in map(_data, messages.trades):
        about = {"trade_seq": one["a"], "trade_id": str(one["a"]), "timestamp": one["T"], "tick_direction": 0}
        prices = {name: float(one["p"]) for name in ("price", "mark_price", "index_price")}
        more = {"instrument_name": DERIBIT, "direction": "sell" if one["m"] else "buy", "amount": float(one["q"])}
        trades.append(told("trades", [about | prices | more]))
    return Messages("deribit", trades, books, b"", "deribit")


OTHERS: tuple[Callable[[Messages], Messages], ...] = (as_bybit, as_okx, as_deribit)


def _data(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)["data"]
    return found


def _books(messages: Messages) -> Iterator[dict[str, Any]]:
    """The whole book, and its updates."""
    whole = json.loads(messages.snapshot)
    yield {"E": START_MS, "b": whole["bids"], "a": whole["asks"]}
    yield from map(_data, messages.updates)


def _zeros(levels: Levels) -> Levels:
    return [(price, size if float(size) else "0") for price, size in levels]


def _changes(levels: Levels, there: set[str]) -> Iterator[tuple[str, float, float]]:
    for price, size in levels:
        amount = float(size)
        if amount or price in there:
            yield "delete" if not amount else "change" if price in there else "new", float(price), amount
        (there.add if amount else there.discard)(price)


# What a record is made of, and nothing else.


class BareTrade(msgspec.Struct):
    s: str
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741
    T: int
    m: bool


class BareUpdate(msgspec.Struct):
    s: str
    E: int
    U: int
    u: int
    b: tuple[tuple[str, str], ...]
    a: tuple[tuple[str, str], ...]


class Combined(msgspec.Struct, Generic[DATA]):
    stream: str
    data: DATA


class BareBybitTrade(msgspec.Struct):
    T: int
    S: str
    v: str
    p: str
    i: str


class BareBybitUpdate(msgspec.Struct):
    u: int
    b: tuple[tuple[str, str], ...]
    a: tuple[tuple[str, str], ...]


class Pushed(msgspec.Struct, Generic[DATA]):
    topic: str
    type: str
    ts: int
    data: DATA


class BareOkxTrade(msgspec.Struct):
    tradeId: str  # noqa: N815
    px: str
    sz: str
    side: str
    ts: str


class BareOkxUpdate(msgspec.Struct):
    asks: tuple[tuple[str, str, str, str], ...]
    bids: tuple[tuple[str, str, str, str], ...]
    ts: str
    prevSeqId: int  # noqa: N815
    seqId: int  # noqa: N815


class OfChannel(msgspec.Struct, Generic[DATA]):
    arg: dict[str, str]
    data: list[DATA]


class BareDeribitTrade(msgspec.Struct):
    trade_seq: int
    trade_id: str
    timestamp: int
    price: float
    direction: str
    amount: float


class BareDeribitUpdate(msgspec.Struct):
    timestamp: int
    change_id: int
    bids: tuple[tuple[str, float, float], ...]
    asks: tuple[tuple[str, float, float], ...]


class Params(msgspec.Struct, Generic[DATA]):
    channel: str
    data: DATA


class Notified(msgspec.Struct, Generic[DATA]):
    params: Params[DATA]


BARE: dict[tuple[str, str], Any] = {
    ("binance", "trades"): Combined[BareTrade],
    ("binance", "updates"): Combined[BareUpdate],
    ("bybit", "trades"): Pushed[list[BareBybitTrade]],
    ("bybit", "updates"): Pushed[BareBybitUpdate],
    ("okx", "trades"): OfChannel[BareOkxTrade],
    ("okx", "updates"): OfChannel[BareOkxUpdate],
    ("deribit", "trades"): Notified[list[BareDeribitTrade]],
    ("deribit", "updates"): Notified[BareDeribitUpdate],
}

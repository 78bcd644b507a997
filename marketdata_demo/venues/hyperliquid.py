"""The invented market as Hyperliquid tells it; the formats are described in `exchanges.hyperliquid`."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_demo.venues.market import (
    DELAY_MS,
    MINUTE_MS,
    NS,
    Bar,
    Fill,
    Market,
    hundredths,
    tenths,
    thousandths,
    totals,
)
from marketdata_demo.venues.voice import Voice

SOCKET = "wss://api.hyperliquid.xyz/ws"
LISTS = "https://api.hyperliquid.xyz/info?type=meta"


def tid(number: int) -> int:
    """The id of a trade, which says nothing of its number, and is as unique."""
    return number * 0x9E3779B97F4A7C15 % 2**50


def name(market: Market) -> str:
    """The venue's name of a coin."""
    return market.coin.name


def opening(markets: Sequence[Market]) -> Iterator[Entry]:
    """The socket, and the list of instruments."""
    at = (markets[0].plan.first + DELAY_MS) * NS
    listed = {"universe": [{"name": name(one), "szDecimals": 2} for one in markets]}
    yield Entry(at, "http", msgspec.json.encode(listed), 0, LISTS)
    yield Entry(at, "open", b"", 0, SOCKET)


def entries(market: Market) -> Iterator[Entry]:
    """All that comes of one coin, channel by channel."""
    for at, block in groupby(market.fills, key=lambda fill: fill.at):
        yield _pushed(at, "trades", [_trade(market, fill) for fill in block])
    for place, bar in enumerate(market.bars):
        yield from _minute(market, place, bar)
    for book in market.books():
        levels = [_levels(book.bids), _levels(book.asks)]
        yield _pushed(book.at, "l2Book", {"coin": name(market), "time": book.at, "levels": levels})


def _trade(market: Market, fill: Fill) -> dict[str, Any]:
    side, ids = "B" if fill.side == "buy" else "A", {"tid": tid(fill.number), "hash": "0x0", "users": ["0x1", "0x2"]}
    prices = {"px": tenths(fill.price), "sz": hundredths(fill.lots)}
    return {"coin": name(market), "side": side, **prices, "time": fill.at, **ids}


def _minute(market: Market, place: int, bar: Bar) -> Iterator[Entry]:
    half, end = bar.at + MINUTE_MS // 2, bar.at + MINUTE_MS
    if so_far := market.half(bar):
        yield _pushed(half, "candle", _candle(market, so_far))
    if bar.fills:
        yield _pushed(end + 10, "candle", _candle(market, bar))
    best = [{"px": tenths(bar.close + step), "sz": hundredths(500), "n": 1} for step in (-1, 1)]
    yield _pushed(end + 20, "bbo", {"coin": name(market), "time": end + 20, "bbo": best})
    day = totals(market.bars[: place + 1])
    ctx = {"funding": "0.0000125", "openInterest": hundredths(500_000 + day.lots), "prevDayPx": tenths(day.open)}
    ctx |= {"dayNtlVlm": thousandths(day.turnover), "dayBaseVlm": hundredths(day.lots), "premium": "0.0003"}
    ctx |= {"oraclePx": tenths(day.close), "markPx": tenths(day.close), "midPx": tenths(day.close)}
    yield _pushed(end + 20, "activeAssetCtx", {"coin": name(market), "ctx": ctx})


def _candle(market: Market, bar: Bar) -> dict[str, Any]:
    told = {"t": bar.at, "T": bar.at + MINUTE_MS - 1, "s": name(market), "i": "1m", "o": tenths(bar.open)}
    told |= {"c": tenths(bar.close), "h": tenths(bar.high), "l": tenths(bar.low)}
    return told | {"v": hundredths(bar.lots), "n": len(bar.fills)}


def _levels(side: dict[int, int]) -> list[dict[str, Any]]:
    return [{"px": tenths(price), "sz": hundredths(lots), "n": 1} for price, lots in side.items()]


def _pushed(at: int, channel: str, data: Any) -> Entry:
    return Entry((at + DELAY_MS) * NS, "in", msgspec.json.encode({"channel": channel, "data": data}))


VOICE = Voice(None, name, opening, entries)

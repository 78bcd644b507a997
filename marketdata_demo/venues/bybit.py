"""The invented market as Bybit's socket and REST tell it; the formats are described in `exchanges.bybit`."""

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
    Book,
    Fill,
    Market,
    hundredths,
    tenths,
    thousandths,
    totals,
)
from marketdata_demo.venues.voice import Voice

SOCKET = "wss://stream.bybit.com/v5/public/linear"
LISTS = "https://api.bybit.com/v5/market/instruments-info?category=linear&limit=1000"
FIRST_UPDATE, FUNDING_MS = 70_000, 8 * 3_600_000


def name(market: Market) -> str:
    """The venue's name of a coin."""
    return f"{market.coin.name}USDT"


def opening(markets: Sequence[Market]) -> Iterator[Entry]:
    """The socket, and the list of instruments."""
    first = markets[0].plan.first
    fixed = {"contractType": "LinearPerpetual", "status": "Trading", "quoteCoin": "USDT", "deliveryTime": "0"}
    listed = [fixed | {"symbol": name(one), "baseCoin": one.coin.name} for one in markets]
    result = {"category": "linear", "list": listed, "nextPageCursor": ""}
    told = {"retCode": 0, "retMsg": "OK", "result": result, "time": first}
    yield Entry((first + DELAY_MS) * NS, "http", msgspec.json.encode(told), 0, LISTS)
    yield Entry((first + DELAY_MS) * NS, "open", b"", 0, SOCKET)


def entries(market: Market) -> Iterator[Entry]:
    """All that comes of one coin, topic by topic."""
    for at, fills in groupby(market.fills, key=lambda fill: fill.at):
        yield _pushed(market, at, "publicTrade", [_trade(market, fill) for fill in fills])
    yield _pushed(market, market.plan.first, "tickers", _ticker(market, market.bars[0], market.plan.first))
    for place, bar in enumerate(market.bars):
        yield from _minute(market, place, bar)
    for number, book in enumerate(market.books()):
        yield _book(market, number, book)
    if market.coin is market.plan.coins[0]:
        fill = market.fills[len(market.fills) // 3]
        position = "Buy" if fill.side == "sell" else "Sell"
        forced = {"T": fill.at, "s": name(market), "S": position, "v": hundredths(fill.lots), "p": tenths(fill.price)}
        yield _pushed(market, fill.at, "allLiquidation", [forced])


def _trade(market: Market, fill: Fill) -> dict[str, Any]:
    side = "Buy" if fill.side == "buy" else "Sell"
    told = {"T": fill.at, "s": name(market), "S": side, "v": hundredths(fill.lots), "p": tenths(fill.price)}
    scattered = fill.number * 2_654_435_761 % 2**32  # the ids of contracts have no order
    return told | {"i": f"{scattered:08x}-d8dd-5b31-9112-a178eb6023af", "BT": False, "seq": fill.number}


def _minute(market: Market, place: int, bar: Bar) -> Iterator[Entry]:
    half, end = bar.at + MINUTE_MS // 2, bar.at + MINUTE_MS
    if so_far := market.half(bar):
        yield _pushed(market, half, "kline.1", [_candle(so_far, confirm=False)])
    yield _pushed(market, end + 10, "kline.1", [_candle(bar, confirm=True)])
    whole = _ticker(market, totals(market.bars[: place + 1]), end + 20)
    changed = ("lastPrice", "volume24h", "turnover24h", "bid1Price", "ask1Price", "openInterest", "fundingRate")
    data = {"symbol": name(market), **{field: whole[field] for field in changed}}
    yield _pushed(market, end + 20, "tickers", data, "delta")


def _candle(bar: Bar, *, confirm: bool) -> dict[str, Any]:
    told = {"start": bar.at, "end": bar.at + MINUTE_MS - 1, "interval": "1", "open": tenths(bar.open)}
    told |= {"close": tenths(bar.close), "high": tenths(bar.high), "low": tenths(bar.low)}
    told |= {"volume": hundredths(bar.lots), "turnover": thousandths(bar.turnover)}
    return told | {"confirm": confirm, "timestamp": bar.fills[-1].at if bar.fills else bar.at}


def _ticker(market: Market, day: Bar, at: int) -> dict[str, str]:
    paid, held = (at // FUNDING_MS + 1) * FUNDING_MS, 500_000 + day.lots
    told = {"symbol": name(market), "lastPrice": tenths(day.close), "prevPrice24h": tenths(day.open)}
    told |= {"highPrice24h": tenths(day.high), "lowPrice24h": tenths(day.low), "volume24h": hundredths(day.lots)}
    told |= {"turnover24h": thousandths(day.turnover), "markPrice": tenths(day.close), "indexPrice": tenths(day.close)}
    told |= {"openInterest": hundredths(held), "openInterestValue": thousandths(held * day.close)}
    told |= {"fundingRate": "0.0001", "nextFundingTime": str(paid), "fundingIntervalHour": "8"}
    told |= {"bid1Price": tenths(day.close - 1), "bid1Size": "5.00"}
    return told | {"ask1Price": tenths(day.close + 1), "ask1Size": "11.00"}


def _book(market: Market, number: int, book: Book) -> Entry:
    whole = number == 0
    bids, asks = (book.bids, book.asks) if whole else (book.changed_bids, book.changed_asks)
    update = FIRST_UPDATE + number
    data = {"s": name(market), "b": _levels(bids), "a": _levels(asks), "u": update, "seq": 3 * update}
    return _pushed(market, book.at, "orderbook.200", data, "snapshot" if whole else "delta")


def _levels(side: dict[int, int]) -> list[tuple[str, str]]:
    return [(tenths(price), hundredths(lots) if lots else "0") for price, lots in side.items()]


def _pushed(market: Market, at: int, topic: str, data: Any, kind: str = "snapshot") -> Entry:
    told = {"topic": f"{topic}.{name(market)}", "type": kind, "ts": at, "data": data, "cts": at}
    return Entry((at + DELAY_MS) * NS, "in", msgspec.json.encode(told))


VOICE = Voice("linear", name, opening, entries)

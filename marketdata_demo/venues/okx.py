"""The invented market as OKX's public sockets and REST tell it; the formats are described in `exchanges.okx`."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_demo.venues.market import (
    DELAY_MS,
    MINUTE_MS,
    NS,
    Bar,
    Book,
    Market,
    hundredths,
    tenths,
    totals,
)
from marketdata_demo.venues.voice import Voice

SOCKETS = ("wss://ws.okx.com:8443/ws/v5/public", "wss://ws.okx.com:8443/ws/v5/business")
REST = "https://www.okx.com/api/v5"
CONTRACT = "0.1"
"""Coins; so many lots are as many contracts."""

FIRST_SEQUENCE, FUNDING_MS = 90_000, 8 * 3_600_000


def name(market: Market) -> str:
    """The venue's name of a coin."""
    return f"{market.coin.name}-USDT-SWAP"


def opening(markets: Sequence[Market]) -> Iterator[Entry]:
    """The sockets, and the list of instruments."""
    at = (markets[0].plan.first + DELAY_MS) * NS
    listed = [_listed(one) for one in markets]
    told = {"code": "0", "msg": "", "data": listed}
    yield Entry(at, "http", msgspec.json.encode(told), 0, f"{REST}/public/instruments?instType=SWAP")
    for connection, url in enumerate(SOCKETS):
        yield Entry(at, "open", b"", connection, url)


def entries(market: Market) -> Iterator[Entry]:
    """All that comes of one coin, channel by channel."""
    for fill in market.fills:
        trade = {"instId": name(market), "tradeId": str(fill.number), "px": tenths(fill.price), "sz": str(fill.lots)}
        trade |= {"side": fill.side, "ts": str(fill.at), "count": str(fill.parts)}
        yield _pushed(market, fill.at, "trades", [trade])
    for place, bar in enumerate(market.bars):
        yield from _minute(market, place, bar)
    for number, book in enumerate(market.books()):
        yield _book(market, number, book)
    if market.coin is market.plan.coins[0]:
        fill = market.fills[len(market.fills) // 3]
        detail = {"bkPx": tenths(fill.price), "side": fill.side, "sz": str(fill.lots), "ts": str(fill.at)}
        detail["posSide"] = "long" if fill.side == "sell" else "short"
        told = {"instId": name(market), "instType": "SWAP", "details": [detail]}
        yield _told(fill.at, {"channel": "liquidation-orders", "instType": "SWAP"}, [told])


def _listed(market: Market) -> dict[str, str]:
    pair = f"{market.coin.name}-USDT"
    about = {"instType": "SWAP", "instId": name(market), "uly": pair, "instFamily": pair, "baseCcy": "", "quoteCcy": ""}
    return about | {"ctType": "linear", "ctVal": CONTRACT, "ctMult": "1", "ctValCcy": market.coin.name}


def _minute(market: Market, place: int, bar: Bar) -> Iterator[Entry]:
    half, end = bar.at + MINUTE_MS // 2, bar.at + MINUTE_MS
    if so_far := market.half(bar):
        yield _pushed(market, half, "candle1m", [_candle(so_far, "0")])
    yield _pushed(market, end + 10, "candle1m", [_candle(bar, "1")])
    yield _pushed(market, end + 20, "tickers", [_ticker(market, totals(market.bars[: place + 1]), end + 20)])
    paid = (half // FUNDING_MS + 1) * FUNDING_MS
    rate = {"instType": "SWAP", "instId": name(market), "fundingRate": "0.0001", "nextFundingRate": ""}
    rate |= {"fundingTime": str(paid), "nextFundingTime": str(paid + FUNDING_MS), "ts": str(half)}
    yield _pushed(market, half, "funding-rate", [rate])
    contracts = 500_000 + totals(market.bars[: place + 1]).lots
    interest = {"instType": "SWAP", "instId": name(market), "oi": str(contracts), "oiCcy": tenths(contracts)}
    yield _pushed(market, half, "open-interest", [interest | {"ts": str(half)}])


def _candle(bar: Bar, confirm: str) -> list[str]:
    prices = [tenths(price) for price in (bar.open, bar.high, bar.low, bar.close)]
    return [str(bar.at), *prices, str(bar.lots), tenths(bar.lots), hundredths(bar.turnover), confirm]


def _ticker(market: Market, day: Bar, at: int) -> dict[str, str]:
    told = {"instType": "SWAP", "instId": name(market), "last": tenths(day.close), "open24h": tenths(day.open)}
    told |= {"lastSz": str(day.fills[-1].lots) if day.fills else "", "high24h": tenths(day.high)}
    told |= {"askPx": tenths(day.close + 1), "askSz": "11", "bidPx": tenths(day.close - 1), "bidSz": "5"}
    return told | {"low24h": tenths(day.low), "vol24h": str(day.lots), "volCcy24h": tenths(day.lots), "ts": str(at)}


def _book(market: Market, number: int, book: Book) -> Entry:
    whole = number == 0
    sequence = FIRST_SEQUENCE + number * 7
    bids, asks = (book.bids, book.asks) if whole else (book.changed_bids, book.changed_asks)
    told = {"asks": _levels(asks), "bids": _levels(bids), "ts": str(book.at), "checksum": 0}
    told |= {"seqId": sequence, "prevSeqId": -1 if whole else sequence - 7}
    arg = {"channel": "books", "instId": name(market)}
    return _told(book.at, arg, [told], action="snapshot" if whole else "update")


def _levels(side: dict[int, int]) -> list[tuple[str, str, str, str]]:
    return [(tenths(price), str(lots), "0", "1" if lots else "0") for price, lots in side.items()]


def _pushed(market: Market, at: int, channel: str, data: list[Any]) -> Entry:
    return _told(at, {"channel": channel, "instId": name(market)}, data)


def _told(at: int, arg: dict[str, str], data: list[Any], **more: str) -> Entry:
    connection = int(arg["channel"].startswith("candle"))
    return Entry((at + DELAY_MS) * NS, "in", msgspec.json.encode({"arg": arg} | more | {"data": data}), connection)


VOICE = Voice(None, name, opening, entries)

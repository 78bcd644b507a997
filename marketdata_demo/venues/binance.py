"""The invented market as Binance's USD-M sockets and REST tell it; the formats are described in `exchanges.binance`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_demo.venues.market import (
    DELAY_MS,
    MINUTE_MS,
    NS,
    SECOND_MS,
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

SOCKET = "wss://fstream.binance.com/market/stream"
REST = "https://fapi.binance.com/fapi/v1"
FIRST_AGGREGATE, FIRST_UPDATE, UPDATES = 5_000, 700_000, 10
FUNDING_MS = 8 * 3_600_000
SNAPSHOT_AFTER = 2
"""Changes of a book that wait for its snapshot."""


def name(market: Market) -> str:
    """The venue's name of a coin."""
    return f"{market.coin.name}USDT"


def opening(markets: Sequence[Market]) -> Iterator[Entry]:
    """The socket, and the list of instruments."""
    at = markets[0].plan.first
    listed = [{"symbol": name(one), "baseAsset": one.coin.name, "quoteAsset": "USDT"} for one in markets]
    yield _http(at, "exchangeInfo", {"symbols": listed})
    yield Entry((at + DELAY_MS) * NS, "open", b"", 0, SOCKET)


def entries(market: Market) -> Iterator[Entry]:
    """All that comes of one coin, stream by stream."""
    lost = {fill.number for fill in market.lost}
    for number, fill in enumerate(market.fills):
        if fill.number not in lost:
            yield _pushed(market, fill.at, "aggTrade", aggregate(market, number))
    for place, bar in enumerate(market.bars):
        yield from _minute(market, place, bar)
    yield from _books(market)
    if market.coin is market.plan.coins[0]:
        yield from _forced(market)


def aggregate(market: Market, number: int) -> dict[str, Any]:
    """One trade of the market as the venue tells it, over the socket and, without the names, over REST."""
    fill = market.fills[number]
    told = {"a": FIRST_AGGREGATE + number, "p": tenths(fill.price), "q": hundredths(fill.lots)}
    told |= {"f": fill.number - fill.parts + 1, "l": fill.number, "T": fill.at, "m": fill.side == "sell"}
    return {"e": "aggTrade", "E": fill.at + 2, "s": name(market)} | told


def _minute(market: Market, place: int, bar: Bar) -> Iterator[Entry]:
    half, end = bar.at + MINUTE_MS // 2, bar.at + MINUTE_MS
    if so_far := market.half(bar):
        yield _pushed(market, half, "kline_1m", _kline(market, so_far, half, closed=False))
    yield _pushed(market, end + 10, "kline_1m", _kline(market, bar, end + 10, closed=True))
    yield _pushed(market, end + 20, "ticker", _ticker(market, totals(market.bars[: place + 1]), end + 20))
    paid = (half // FUNDING_MS + 1) * FUNDING_MS
    mark = {"e": "markPriceUpdate", "E": half, "s": name(market), "p": f"{tenths(bar.open)}5", "i": tenths(bar.open)}
    yield _pushed(market, half, "markPrice", mark | {"P": tenths(bar.open), "r": "0.00010000", "T": paid})
    if place % 5 == 0:
        open_now = hundredths(9_000_000 + totals(market.bars[: place + 1]).lots)
        about = {"openInterest": open_now, "symbol": name(market), "time": half}
        yield _http(half, f"openInterest?symbol={name(market)}", about)


def _kline(market: Market, bar: Bar, at: int, *, closed: bool) -> dict[str, Any]:
    bought, bought_turnover = bar.bought
    candle = {"t": bar.at, "T": bar.at + MINUTE_MS - 1, "s": name(market), "i": "1m"}
    candle |= {"o": tenths(bar.open), "c": tenths(bar.close), "h": tenths(bar.high), "l": tenths(bar.low)}
    candle |= {"v": hundredths(bar.lots), "n": _singles(bar.fills), "x": closed, "q": thousandths(bar.turnover)}
    candle |= {"V": hundredths(bought), "Q": thousandths(bought_turnover)}
    return {"e": "kline", "E": at, "s": name(market), "k": candle}


def _ticker(market: Market, day: Bar, at: int) -> dict[str, Any]:
    mean = tenths(day.turnover // day.lots) if day.lots else tenths(day.close)
    told = {"e": "24hrTicker", "E": at, "s": name(market), "w": mean, "c": tenths(day.close)}
    told |= {"Q": hundredths(day.fills[-1].lots) if day.fills else "0.00", "o": tenths(day.open)}
    told |= {"h": tenths(day.high), "l": tenths(day.low), "v": hundredths(day.lots)}
    return told | {"q": thousandths(day.turnover), "n": _singles(day.fills)}


def _books(market: Market) -> Iterator[Entry]:
    """A change a second, a snapshot after the first few, and another one after a change that is lost."""
    breaks = market.coin is market.plan.coins[0] and not market.plan.whole
    for number, book in enumerate(market.books()):
        broken = breaks and book.at == market.plan.middle
        last = FIRST_UPDATE + (number + 1) * UPDATES
        if not broken:
            yield _pushed(market, book.at, "depth@100ms", _diff(market, book, last))
        if number == SNAPSHOT_AFTER or (breaks and book.at == market.plan.middle + 3 * SECOND_MS):
            levels = {"bids": _levels(book.bids), "asks": _levels(book.asks)}
            told = {"lastUpdateId": last, "E": book.at, "T": book.at} | levels
            yield _http(book.at + 5, f"depth?symbol={name(market)}&limit=1000", told)
        if number > SNAPSHOT_AFTER and number % 5 == 0 and not broken:
            (bid, bid_lots), (ask, ask_lots) = next(iter(book.bids.items())), next(iter(book.asks.items()))
            best = {"e": "bookTicker", "u": last, "s": name(market), "b": tenths(bid), "B": hundredths(bid_lots)}
            best |= {"a": tenths(ask), "A": hundredths(ask_lots), "T": book.at, "E": book.at}
            yield _pushed(market, book.at + 10, "bookTicker", best)


def _diff(market: Market, book: Book, last: int) -> dict[str, Any]:
    ids = {"U": last - UPDATES + 1, "u": last, "pu": last - UPDATES}
    about = {"e": "depthUpdate", "E": book.at, "T": book.at, "s": name(market)}
    return about | ids | {"b": _levels(book.changed_bids), "a": _levels(book.changed_asks)}


def _forced(market: Market) -> Iterator[Entry]:
    fill = market.fills[len(market.fills) // 3]
    order = {"s": name(market), "S": fill.side.upper(), "o": "LIMIT", "f": "IOC", "q": hundredths(fill.lots)}
    order |= {"p": tenths(fill.price), "ap": tenths(fill.price), "X": "FILLED", "l": hundredths(fill.lots)}
    told = {"e": "forceOrder", "E": fill.at, "o": order | {"z": hundredths(fill.lots), "T": fill.at}}
    yield _pushed(market, fill.at, "forceOrder", told)


def _singles(fills: Iterable[Fill]) -> int:
    return sum(fill.parts for fill in fills)


def _levels(side: dict[int, int]) -> list[tuple[str, str]]:
    return [(tenths(price), hundredths(lots)) for price, lots in side.items()]


def _pushed(market: Market, at: int, stream: str, data: dict[str, Any]) -> Entry:
    told = {"stream": f"{name(market).lower()}@{stream}", "data": data}
    return Entry((at + DELAY_MS) * NS, "in", msgspec.json.encode(told))


def _http(at: int, what: str, told: dict[str, Any]) -> Entry:
    return Entry((at + DELAY_MS) * NS, "http", msgspec.json.encode(told), 0, f"{REST}/{what}")


VOICE = Voice("linear", name, opening, entries)

"""The invented market as Deribit's socket and REST tell it; the formats are described in `exchanges.deribit`."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw

from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_demo.venues.market import (
    DELAY_MS,
    MINUTE_MS,
    NS,
    Bar,
    Book,
    Fill,
    Market,
    tenths,
    totals,
)
from marketdata_demo.venues.voice import Voice

SOCKET = "wss://www.deribit.com/ws/api/v2"
REST = "https://www.deribit.com/api/v2/public"
CONTRACT = 10
"""Quote units; so many lots are as many contracts."""

FIRST_CHANGE = 30_000
COIN_DIGITS = Decimal("0.00000001")


def name(market: Market) -> str:
    """The venue's name of a coin."""
    return f"{market.coin.name}-PERPETUAL"


def opening(markets: Sequence[Market]) -> Iterator[Entry]:
    """The socket, and the list of instruments."""
    at = (markets[0].plan.first + DELAY_MS) * NS
    fixed = {"kind": "future", "quote_currency": "USD", "counter_currency": "USD", "instrument_type": "reversed"}
    listed = [
        fixed | {"instrument_name": name(one), "base_currency": one.coin.name, "contract_size": CONTRACT}
        for one in markets
    ]
    told = {"jsonrpc": "2.0", "id": 1, "result": listed}
    yield Entry(at, "http", msgspec.json.encode(told), 0, f"{REST}/get_instruments?currency=any&expired=false")
    yield Entry(at, "open", b"", 0, SOCKET)


def entries(market: Market) -> Iterator[Entry]:
    """All that comes of one coin, channel by channel."""
    forced = market.fills[len(market.fills) // 3] if market.coin is market.plan.coins[0] else None
    for number, fill in enumerate(market.fills):
        trade = _trade(market, number, fill) | ({"liquidation": "T"} if fill is forced else {})
        yield _pushed(market, fill.at, "trades", "100ms", [trade])
    for place, bar in enumerate(market.bars):
        yield from _minute(market, place, bar)
    before: Book | None = None
    for number, book in enumerate(market.books()):
        yield _pushed(market, book.at, "book", "100ms", _book(market, number, book, before))
        before = book


def _trade(market: Market, number: int, fill: Fill) -> dict[str, Any]:
    told = {"trade_seq": number + 1, "trade_id": f"{market.coin.name}-{fill.number}", "timestamp": fill.at}
    told |= {"tick_direction": 0, "price": _price(fill.price), "mark_price": _price(fill.price)}
    told |= {"instrument_name": name(market), "index_price": _price(fill.price), "direction": fill.side}
    return told | {"amount": _usd(fill.lots), "contracts": Raw(b"%d.0" % fill.lots)}


def _minute(market: Market, place: int, bar: Bar) -> Iterator[Entry]:
    half, end = bar.at + MINUTE_MS // 2, bar.at + MINUTE_MS
    for at, one in ((half, market.half(bar)), (end - 1, bar)):
        if one and one.fills:  # Deribit has no candle of a minute without trades, and says of none that it is closed
            yield _pushed(market, at, "chart.trades", "1", _candle(one))
    day, close = totals(market.bars[: place + 1]), _price(bar.close)
    stats = {
        "high": _price(day.high),
        "low": _price(day.low),
        "volume": _coins(day.fills),
        "volume_usd": _usd(day.lots),
    }
    told: dict[str, Any] = {"timestamp": half, "instrument_name": name(market), "state": "open", "stats": stats}
    told |= {"last_price": close, "mark_price": close, "index_price": close, "settlement_price": close}
    told |= {"best_bid_price": _price(bar.close - 1), "best_bid_amount": _usd(5)}
    told |= {"best_ask_price": _price(bar.close + 1), "best_ask_amount": _usd(4)}
    told |= {"current_funding": Raw(b"-1.5e-6"), "funding_8h": Raw(b"6.5e-6"), "open_interest": _usd(80_000 + place)}
    yield _pushed(market, half, "ticker", "100ms", told)


def _candle(bar: Bar) -> dict[str, Any]:
    told: dict[str, Any] = {"tick": bar.at, "open": _price(bar.open), "high": _price(bar.high)}
    told |= {"low": _price(bar.low), "close": _price(bar.close)}
    return told | {"volume": _coins(bar.fills), "cost": _usd(bar.lots)}


def _book(market: Market, number: int, book: Book, before: Book | None) -> dict[str, Any]:
    told = {"timestamp": book.at, "instrument_name": name(market), "change_id": FIRST_CHANGE + number}
    if before is None:
        sides = {"bids": _changes(book.bids, {}), "asks": _changes(book.asks, {})}
        return {"type": "snapshot"} | told | sides
    sides = {"bids": _changes(book.changed_bids, before.bids), "asks": _changes(book.changed_asks, before.asks)}
    return {"type": "change"} | told | {"prev_change_id": FIRST_CHANGE + number - 1} | sides


def _changes(changed: dict[int, int], before: dict[int, int]) -> list[tuple[str, Raw, Raw]]:
    return [
        ("delete" if not lots else "change" if price in before else "new", _price(price), _usd(lots))
        for price, lots in changed.items()
    ]


def _coins(fills: Sequence[Fill]) -> Raw:
    """What the venue counts in coins, to its eight digits."""
    coins = sum((Decimal(fill.lots * CONTRACT * 10) / fill.price for fill in fills), Decimal(0))
    return Raw(f"{coins.quantize(COIN_DIGITS):f}".encode())


def _price(ticks: int) -> Raw:
    return Raw(tenths(ticks).encode())


def _usd(lots: int) -> Raw:
    return Raw(b"%d.0" % (lots * CONTRACT))


def _pushed(market: Market, at: int, kind: str, interval: str, data: Any) -> Entry:
    params = {"channel": f"{kind}.{name(market)}.{interval}", "data": data}
    told = {"jsonrpc": "2.0", "method": "subscription", "params": params}
    return Entry((at + DELAY_MS) * NS, "in", msgspec.json.encode(told))


VOICE = Voice(None, name, opening, entries)

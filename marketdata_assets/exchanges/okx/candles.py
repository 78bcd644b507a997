"""Candles of OKX, over the socket and from lists.

A row is [ts, open, high, low, close, vol, volCcy] and since late 2022 also [.., volCcyQuote, confirm]. `vol` counts
coins on spot markets and contracts elsewhere; `volCcy` is in the quote currency on spot markets and in coins elsewhere.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.numbers import decimal
from marketdata_assets.exchanges.okx.wire import MS, VENUE, Data, Parse, time_of
from marketdata_assets.exchanges.outcomes import Outcome
from marketdata_assets.exchanges.records import Kline

OLD_COLUMNS = 7
COLUMNS = 9
CLOSED = {"0": False, "1": True}

_BAR = re.compile(r"(?P<count>[0-9]{1,2})(?P<unit>[smHDWM])(?P<utc>utc)?", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "H": 3600, "D": 86400, "W": 604800}
_HONG_KONG = dt.timedelta(hours=8)

_rows = msgspec.json.Decoder(Data[tuple[str, ...]]).decode


@dataclass(frozen=True)
class Bar:
    """A length of candles, as OKX writes it: 1m, 4H, 1Dutc, 1M. Days, weeks and months without `utc` begin at UTC+8."""

    interval: str  # as records say it
    end: Callable[[int], int]  # the end of the candle that begins then, both ns


def bar_of(text: str) -> Bar | None:
    """The bar; null when it is none."""
    match = _BAR.fullmatch(text)
    if match is None or not int(match["count"]):
        return None
    count, unit = int(match["count"]), match["unit"]
    if unit == "M":
        return Bar(
            f"{count}M", lambda start: _months_after(start, count, dt.timedelta(0) if match["utc"] else _HONG_KONG)
        )
    length = count * _SECONDS[unit] * 1000 * MS
    return Bar(f"{count}{unit.lower()}", lambda start: start + length)


# {"arg":{"channel":"candle1m","instId":"ABC-USDT-SWAP"},"data":[["1700000040000","4.2","4.3","4.1","4.2","210","2.1",
#   "8.8","0"]]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel; the answers of
# GET /api/v5/market/candles and history-candles have the same rows. `confirm` 1 says that the candle is closed.
def candles(instrument: Instrument, bar: Bar) -> Parse:
    """Parser of the candles of one instrument."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [_candle(row, instrument, bar, ts_recv) for row in _rows(raw).data]

    return parse


def _candle(row: tuple[str, ...], instrument: Instrument, bar: Bar, ts_recv: int) -> Kline:
    if len(row) != OLD_COLUMNS and len(row) < COLUMNS:
        raise BadMessage(VENUE, f"a candle of {len(row)} columns")
    open_time = time_of(row[0])
    prices = [decimal("price", text) for text in row[1:5]]
    volume, currency = decimal("vol", row[5]), decimal("volCcy", row[6])
    spot = instrument.market_type == "spot"
    quote_volume, closed = currency if spot else None, None
    if len(row) >= COLUMNS:
        quote_volume, closed = decimal("volCcyQuote", row[7]), CLOSED.get(row[8])
        if closed is None:
            raise BadMessage(VENUE, f"confirm is {row[8][:40]!r}, which is neither 0 nor 1")
    return Kline(
        "okx",
        instrument.market_type,
        instrument.symbol,
        instrument.name,
        None,
        ts_recv,
        interval=bar.interval,
        open_time=open_time,
        close_time=bar.end(open_time),
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=volume if spot else currency,
        contracts=None if spot else volume,
        quote_volume=quote_volume,
        trades=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        closed=closed,
    )


def _months_after(start: int, months: int, shift: dt.timedelta) -> int:
    """The same moment of the calendar so many months later."""
    seconds, rest = divmod(start, 1000 * MS)
    local = dt.datetime.fromtimestamp(seconds, dt.UTC) + shift
    month = local.year * 12 + local.month - 1 + months
    later = local.replace(year=month // 12, month=month % 12 + 1, day=1) + dt.timedelta(days=local.day - 1) - shift
    return int(later.timestamp()) * 1000 * MS + rest

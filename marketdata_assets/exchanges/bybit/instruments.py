"""Bybit's lists of instruments, and what the name of one gives away.

    GET /v5/market/instruments-info?category=linear&limit=1000
    {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": [{"symbol": "ABCUSDT", "contractType":
     "LinearPerpetual", "status": "Trading", "baseCoin": "ABC", "quoteCoin": "USDT", "deliveryTime": "0", ...}],
     "nextPageCursor": ""}, "time": 1700000000123}

https://bybit-exchange.github.io/docs/v5/market/instrument, https://bybit-exchange.github.io/docs/v5/enum#symbol
Spot and linear instruments count coins. Inverse contracts are of one USD each. A name may be an instrument of several
markets: BTCUSDT is a spot pair and a linear perpetual.
"""

import calendar
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from marketdata_assets.exchanges.bybit.wire import VENUE, Response
from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.instruments import Instrument, Listing, expiry_ns, read_entries, read_state
from marketdata_assets.exchanges.records import MarketType, State

USD_PER_CONTRACT = "1"  # of an inverse contract

TYPES: dict[str, MarketType] = {
    "": "spot",
    "LinearPerpetual": "linear",
    "LinearFutures": "linear",
    "InversePerpetual": "inverse",
    "InverseFutures": "inverse",
}
"""By contractType, which spot pairs do not have."""

QUOTES = (
    *("USDT", "USDC", "USDE", "USD1", "RLUSD", "XUSD", "DAI", "USDD", "USD", "BTC", "ETH", "SOL", "MNT"),
    *("EUR", "GBP", "BRL", "BRZ", "AED", "PLN", "TRY", "KZT", "UAH", "ARS", "MXN"),
)
"""What spot pairs are or were quoted in; a name ends in the longest of them."""

_PAIR = re.compile(rf"(?P<base>[^\W_]+?)(?P<quote>{'|'.join(sorted(QUOTES, key=len, reverse=True))})")
_DAY = r"(?P<day>[0-9]{1,2})(?P<month>[A-Z]{3})(?P<year>[0-9]{2})"
_LINEAR = re.compile(rf"(?P<base>[^\W_]+?)(?:(?P<quote>USDT|USDC)(?:-{_DAY})?|PERP)")
_USDC_FUTURE = re.compile(rf"(?P<base>[^\W_]+?)-{_DAY}")
_INVERSE = re.compile(rf"(?P<base>[^\W_]+?)USD(?:(?P<quarter>[HMUZ])(?P<of>[0-9]{{2}})|-{_DAY})?")
_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_QUARTERS = {"H": 3, "M": 6, "U": 9, "Z": 12}  # the month in which a quarter ends


STATES: dict[str, State] = {
    "PreLaunch": "prelaunch",
    "Trading": "trading",
    "Settling": "settling",
    "Delivering": "settling",
    "Closed": "delisted",
}
"""By Bybit's word, https://bybit-exchange.github.io/docs/v5/enum#status; its list has only those that are traded."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """One element of a list."""

    symbol: str
    base_coin: str = msgspec.field(name="baseCoin")
    quote_coin: str = msgspec.field(name="quoteCoin")
    contract_type: str = msgspec.field(name="contractType", default="")
    status: str = ""
    delivery_time: str = msgspec.field(name="deliveryTime", default="")  # ms; 0 of a perpetual


decode_listed = msgspec.json.Decoder(Response[msgspec.Raw], strict=False).decode
_listed = msgspec.json.Decoder(Listed, strict=False).decode


def instruments(entries: Sequence[bytes], ts_recv: int = 0) -> Listing:
    """The instruments of a list; those of kinds that we do not know are left out. Raises BadInstruments."""
    return read_entries(VENUE, entries, _entry, ts_recv, name="symbol")


def _entry(raw: bytes) -> Instrument | None:
    entry = _listed(raw)
    market_type = TYPES.get(entry.contract_type)
    if market_type is None:
        return None
    if not (entry.symbol and entry.base_coin and entry.quote_coin):
        raise BadInstruments(VENUE, f"{entry.symbol or 'an entry'} has no baseCoin or no quoteCoin")
    expiry = _expiry(entry) if entry.contract_type.endswith("Futures") else None
    found = _instrument(market_type, entry.symbol, entry.base_coin, entry.quote_coin, expiry)
    expires_at = expiry_ns(int(entry.delivery_time)) if expiry else None
    state, word = read_state(STATES, entry.status)
    return replace(found, expires_at=expires_at, state=state, venue_state=word)


def named(market_type: MarketType, name: str) -> Instrument | None:
    """What the name alone says; null when the name is not clear."""
    if market_type == "spot":
        match = _PAIR.fullmatch(name)
        return _instrument("spot", name, match["base"], match["quote"], None) if match else None
    if market_type == "linear":
        match = _LINEAR.fullmatch(name) or _USDC_FUTURE.fullmatch(name)
        if match is None:
            return None
        quote = match.groupdict().get("quote") or "USDC"
        return _dated(market_type, name, match["base"], quote, match)
    match = _INVERSE.fullmatch(name) if market_type == "inverse" else None
    return _dated("inverse", name, match["base"], "USD", match) if match else None


def _instrument(market_type: MarketType, name: str, base: str, quote: str, expiry: dt.date | None) -> Instrument:
    symbol = f"{base}-{quote}" if expiry is None else f"{base}-{quote}-{expiry:%y%m%d}"
    if market_type == "inverse":
        return Instrument(VENUE, market_type, name, symbol, base, quote, "quote", USD_PER_CONTRACT)
    return Instrument(VENUE, market_type, name, symbol, base, quote, "base")


def _expiry(entry: Listed) -> dt.date:
    millis = entry.delivery_time
    if not (millis.isascii() and millis.isdecimal()) or not 0 < int(millis) < 9_000_000_000_000:
        raise BadInstruments(VENUE, f"the future {entry.symbol} has the deliveryTime {millis[:40]!r}")
    return dt.datetime.fromtimestamp(int(millis) // 1000, dt.UTC).date()


def _dated(market_type: MarketType, name: str, base: str, quote: str, match: re.Match[str]) -> Instrument | None:
    """The instrument of a name that may end in a day or in a quarter, on whose last Friday contracts expire."""
    parts = match.groupdict()
    if parts.get("quarter"):
        year, month = 2000 + int(parts["of"]), _QUARTERS[parts["quarter"]]
        last = dt.date(year, month, calendar.monthrange(year, month)[1])
        return _instrument(market_type, name, base, quote, last - dt.timedelta((last.weekday() - calendar.FRIDAY) % 7))
    if parts.get("day") is None:
        return _instrument(market_type, name, base, quote, None)
    try:
        expiry = dt.date(2000 + int(parts["year"]), _MONTHS.get(parts["month"], 0), int(parts["day"]))
    except ValueError:
        return None
    return _instrument(market_type, name, base, quote, expiry)

"""Binance's lists of instruments: what is traded for what, and what one contract is worth.

    GET /dapi/v1/exchangeInfo
    {"symbols": [{"symbol": "ABCUSD_PERP", "pair": "ABCUSD", "contractType": "PERPETUAL", "contractSize": 10,
     "baseAsset": "ABC", "quoteAsset": "USD", ...}]}

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints#exchange-information
https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api/Exchange-Information
Spot and USD-M count coins, COIN-M counts contracts of so many USD, options count contracts of so many coins.
"""

import re
from decimal import Decimal
from functools import partial

import msgspec

from marketdata_assets.exchanges.decimals import EXACT, plain
from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.instruments import Instrument, Listing, expiry_ns, read_entries, read_state
from marketdata_assets.exchanges.records import Exchange, MarketType, State

VENUE: Exchange = "binance"
NS = 1_000_000  # nanoseconds in a millisecond
Head = tuple[Exchange, MarketType, str, str, int | None, int]  # the fields that all records have

QUOTES = (
    *("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USDP", "USDS", "PAX", "DAI", "VAI", "USD1", "USDE", "RLUSD", "UST"),
    *("BTC", "ETH", "BNB", "SOL", "XRP", "TRX", "DOGE", "DOT"),
    *("EUR", "EURI", "GBP", "AUD", "TRY", "BRL", "RUB", "UAH", "NGN", "ZAR", "JPY", "PLN", "RON", "ARS"),
    *("MXN", "COP", "CZK", "IDR", "BIDR", "IDRT", "BKRW", "BVND", "GYEN"),
)
"""What spot and USD-M instruments are or were quoted in; a name ends in the longest of them."""

_DATED = r"(?:_(?P<dated>[0-9]{6}))?"
_PAIR = re.compile(rf"(?P<base>[^\W_]+?)(?P<quote>{'|'.join(QUOTES)}){_DATED}")
_COIN = re.compile(r"(?P<base>[^\W_]+?)(?P<quote>USD)_(?:PERP|(?P<dated>[0-9]{6}))")
_OPTION = re.compile(r"(?P<base>[^\W_]+)-(?P<dated>[0-9]{6}-[0-9]+(?:\.[0-9]+)?-[CP])")


class Listed(msgspec.Struct, frozen=True, gc=False):
    """One instrument of a list; an option has `underlying` instead of `baseAsset`, and `unit`."""

    symbol: str
    quoteAsset: str  # noqa: N815
    baseAsset: str = ""  # noqa: N815
    underlying: str = ""  # base and quote
    contractSize: int | None = None  # noqa: N815  quote units
    unit: int | None = None  # base units
    status: str = ""  # of spot, USD-M and options
    contractStatus: str = ""  # noqa: N815  of COIN-M
    deliveryDate: int | None = None  # noqa: N815  ms; of a perpetual in the year 2100
    expiryDate: int | None = None  # noqa: N815  ms, of an option


class ExchangeInfo(msgspec.Struct, frozen=True):
    """The answer to exchangeInfo."""

    symbols: list[msgspec.Raw] = []
    optionSymbols: list[msgspec.Raw] = []  # noqa: N815


STATES: dict[str, State] = {
    **dict.fromkeys(("TRADING", "AUCTION_MATCH"), "trading"),
    **dict.fromkeys(("PENDING_TRADING", "PRE_TRADING"), "prelaunch"),
    **dict.fromkeys(("HALT", "END_OF_DAY", "POST_TRADING", "CANCEL_ONLY"), "suspended"),
    **dict.fromkeys(("PRE_DELIVERING", "DELIVERING", "PRE_SETTLE", "SETTLING"), "settling"),
    **dict.fromkeys(("BREAK", "DELIVERED", "CLOSE"), "delisted"),
}
"""By Binance's word; on spot a pair is also in BREAK during maintenance.
https://developers.binance.com/docs/binance-spot-api-docs/enums#symbol-status-status
https://developers.binance.com/docs/derivatives/usds-margined-futures/common-definition"""

_listed = msgspec.json.Decoder(Listed).decode


def instruments(market_type: MarketType, info: ExchangeInfo, ts_recv: int = 0) -> Listing:
    """The instruments of a list. Raises BadInstruments when it has none."""
    entries = info.optionSymbols if market_type == "option" else info.symbols
    if not entries:
        raise BadInstruments(VENUE, f"it has none of the market type {market_type}")
    return read_entries(VENUE, entries, partial(_entry, market_type), ts_recv, name="symbol")


def _entry(market_type: MarketType, raw: bytes) -> Instrument:
    entry = _listed(raw)
    base = entry.baseAsset or entry.underlying.removesuffix(entry.quoteAsset)
    if not (base and entry.quoteAsset and entry.symbol):
        raise BadInstruments(VENUE, f"{entry.symbol or 'an entry'} has no base or no quote asset")
    match = _shape(market_type).fullmatch(entry.symbol)
    return _instrument(market_type, entry.symbol, base, entry.quoteAsset, match["dated"] if match else None, entry)


def named(market_type: MarketType, name: str) -> Instrument | None:
    """What the name alone says, without the value of a contract; null when the name is not clear."""
    match = _shape(market_type).fullmatch(name)
    if match is None:
        return None
    quote = "USDT" if market_type == "option" else match["quote"]
    return _instrument(market_type, name, match["base"], quote, match["dated"], None)


def _shape(market_type: MarketType) -> re.Pattern[str]:
    return {"inverse": _COIN, "option": _OPTION}.get(market_type, _PAIR)


def _instrument(
    market_type: MarketType, name: str, base: str, quote: str, dated: str | None, listed: Listed | None
) -> Instrument:
    symbol = f"{base}-{quote}-{dated}" if dated else f"{base}-{quote}"
    state = read_state(STATES, (listed.status or listed.contractStatus) if listed else "")
    expires_at = expiry_ns(listed.deliveryDate or listed.expiryDate) if listed else None
    if market_type in ("spot", "linear"):
        return Instrument("binance", market_type, name, symbol, base, quote, "base", None, expires_at, *state)
    value = None
    if listed:
        worth = listed.contractSize if market_type == "inverse" else listed.unit
        if not worth or worth < 0:
            raise BadInstruments(VENUE, f"{name} does not say what a contract is worth")
        value = str(worth)
    return Instrument("binance", market_type, name, symbol, base, quote, "contracts", value, expires_at, *state)


def head_of(instrument: Instrument, moment_ms: int | None, ts_recv: int) -> Head:
    """The fields that all records have."""
    return *instrument.key, None if moment_ms is None else moment_ms * NS, ts_recv


def volumes_of(instrument: Instrument, first: str, second: str) -> tuple[str | None, str | None, str | None]:
    """Base units, contracts and quote units of a pair that counts base and quote units.

    On COIN-M it counts contracts and base units, and a contract is so many quote units.
    """
    inverse = instrument.market_type == "inverse"
    return (second, first, worth_of(instrument, first)) if inverse else (first, None, second)


def worth_of(instrument: Instrument, contracts: str) -> str | None:
    """So many contracts of COIN-M in quote units."""
    value = instrument.contract_value
    return None if value is None else plain(EXACT.multiply(Decimal(contracts), Decimal(value)))

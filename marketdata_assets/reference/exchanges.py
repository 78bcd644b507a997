"""The exchanges whose symbols are known, one row each: calendars, clocks, sessions and currencies follow from it.

A symbol names its exchange: by a suffix, as `600000.SH`, `AAPL.US`, `0700.HK`, `VOD.L` and `7203.T`, or as a pair of
currencies, as `BTC-USD`. The codes of mainland stocks are in `codes`, the days of an exchange in `calendar`.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from marketdata_assets.errors import TerminalError
from marketdata_assets.reference import codes

Sessions = tuple[tuple[dt.time, int], ...]
"""The start of each session of a day, on the exchange's clock, and its minutes."""


@dataclass(frozen=True)
class Exchange:
    """What is the same of all symbols of an exchange, or of several that trade alike."""

    name: str
    suffixes: tuple[str, ...]  # of our symbols
    calendar: str  # its name in the library exchange_calendars
    timezone: str
    sessions: Sessions  # of a usual day; `calendar.Calendar` has the others
    currency: str | None  # of prices, as Yahoo writes it: GBp are pence; None: the suffix
    code: str  # what is before the suffix, as a regular expression
    example: str
    yahoo: tuple[str, ...]  # Yahoo's suffixes for these; AAPL has none
    aliases: tuple[str, ...] = ()  # suffixes and prefixes of vendors
    pairs: bool = False  # BTC-USD, and not AAPL.US
    fractions: bool = False  # whether volumes are not whole numbers
    opening_bar: bool = False  # labelled by their end, bars begin with the opening auction's at the opening
    auction: int = 0  # minutes after the close in which its closing auction is reported
    price_limits: bool = False  # whether the reference data have those of each day

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def minutes(self) -> int:
        """The minutes of a usual day."""
        return sum(length for _, length in self.sessions)

    @property
    def close(self) -> dt.timedelta:
        """From midnight to the end of a usual day."""
        start, length = self.sessions[-1]
        return dt.timedelta(hours=start.hour, minutes=start.minute + length)

    @property
    def always_open(self) -> bool:
        return self.minutes == 24 * 60


MAINLAND = Exchange(
    "Shanghai, Shenzhen and Beijing",
    suffixes=("SH", "SZ", "BJ"),
    calendar="XSHG",
    timezone="Asia/Shanghai",
    sessions=((dt.time(9, 30), 120), (dt.time(13, 0), 120)),
    currency="CNY",
    code=r"\d{6}",
    example="600000.SH",
    yahoo=("SS", "SZ"),
    opening_bar=True,
    price_limits=True,
)
EXCHANGES = (
    MAINLAND,
    Exchange(
        "Hong Kong",
        suffixes=("HK",),
        calendar="XHKG",
        timezone="Asia/Hong_Kong",
        sessions=((dt.time(9, 30), 150), (dt.time(13, 0), 180)),
        currency="HKD",
        code=r"\d{1,5}",
        example="0700.HK",
        yahoo=("HK",),
        aliases=("HK", "XHKG", "HKEX", "HKG", "SEHK"),
        auction=10,
    ),
    Exchange(
        "United States",
        suffixes=("US",),
        calendar="XNYS",
        timezone="America/New_York",
        sessions=((dt.time(9, 30), 390),),
        currency="USD",
        code=r"[A-Z]{1,5}(?:-[A-Z]{1,2})?",
        example="AAPL.US",
        yahoo=("",),
        aliases=("US", "O", "OQ", "N", "XNYS", "XNAS", "NYSE", "NASDAQ", "AMEX", "NYSEARCA", "105", "106", "107"),
    ),
    Exchange(
        "London",
        suffixes=("L",),
        calendar="XLON",
        timezone="Europe/London",
        sessions=((dt.time(8, 0), 510),),
        currency="GBp",
        code=r"[A-Z0-9]{1,5}(?:-[A-Z])?",
        example="VOD.L",
        yahoo=("L",),
        aliases=("L", "LN", "XLON", "LSE", "LON", "UK"),
        auction=5,
    ),
    Exchange(
        "Tokyo",
        suffixes=("T",),
        calendar="XTKS",
        timezone="Asia/Tokyo",
        sessions=((dt.time(9, 0), 150), (dt.time(12, 30), 180)),
        currency="JPY",
        code=r"\d{3}[0-9A-Z]",
        example="7203.T",
        yahoo=("T",),
        aliases=("T", "JP", "XTKS", "TYO", "TSE", "JPX"),
    ),
    Exchange(
        "crypto-currencies",
        suffixes=("USD", "EUR", "GBP", "JPY", "HKD", "CNY"),
        calendar="24/7",
        timezone="UTC",
        sessions=((dt.time(0, 0), 24 * 60),),
        currency=None,
        code=r"[A-Z0-9]{2,10}",
        example="BTC-USD",
        yahoo=("USD", "EUR", "GBP", "JPY", "HKD", "CNY"),
        pairs=True,
        fractions=True,
    ),
)

_BY_SUFFIX = {(suffix, one.pairs): one for one in EXCHANGES for suffix in one.suffixes}
_BY_ALIAS = {alias: one for one in EXCHANGES for alias in one.aliases}
_CLASS_OF_SHARES = re.compile(r"([A-Z]{1,5})(?:[.\-/]([AB]))?")
_WITH_DIGITS = re.compile(r"(HK)(\d{1,5})")


def split(symbol: str) -> tuple[str, str, str]:
    """A symbol's code, its separator and its suffix; both empty where it has none: `BRK-B.US`, `BTC-USD`, `AAPL`."""
    code, dot, suffix = symbol.rpartition(".")
    if not dot:
        code, dot, suffix = symbol.rpartition("-")
    return (code, dot, suffix) if dot else (symbol, "", "")


@lru_cache(maxsize=65536)
def exchange_of(symbol: str) -> Exchange:
    """The exchange of a symbol. Raises TerminalError where its suffix is none that is known."""
    _, separator, suffix = split(symbol)
    exchange = _BY_SUFFIX.get((suffix, separator == "-"))
    if exchange is None:
        raise TerminalError(f"symbol {symbol!r}: {not_known(suffix)}")
    return exchange


def currency_of(symbol: str) -> str:
    """The currency of a symbol's prices."""
    return exchange_of(symbol).currency or split(symbol)[2]


def by_exchange(symbols: Iterable[str]) -> Mapping[Exchange, list[str]]:
    """The symbols of each exchange, in their order."""
    found: dict[Exchange, list[str]] = {}
    for symbol in symbols:
        found.setdefault(exchange_of(symbol), []).append(symbol)
    return found


@lru_cache(maxsize=65536)
def canonical(text: str) -> str | None:
    """The symbol that a vendor's spelling means, of any exchange; None where it names none, or could mean several.

    `sh600000`, `00700.HK`, `hk00700`, `HK.00700`, `AAPL`, `105.AAPL`, `NASDAQ:AAPL`, `BRK.B`, `VOD.LN`, `TYO:7203`,
    `btc/usd`. Letters alone are of the United States; digits alone may be of several exchanges.
    """
    upper = text.strip().upper()
    if (mainland := codes.canonical(upper)) is not None:
        return mainland
    code, separator, suffix = (upper.replace("/", "-") if "." not in upper else upper).rpartition(".")
    if not separator and (pair := split(upper.replace("/", "-").replace("_", "-")))[1] == "-":
        crypto = _BY_SUFFIX.get((pair[2], True))
        if crypto and re.fullmatch(crypto.code, pair[0], re.ASCII):
            return f"{pair[0]}-{pair[2]}"
    if separator and (found := _symbol(_BY_ALIAS.get(suffix), code)):
        return found
    prefix, separator, code = upper.partition(":") if ":" in upper else upper.partition(".")
    if len(prefix) > 1 and separator and (found := _symbol(_BY_ALIAS.get(prefix), code)):
        return found
    if match := _WITH_DIGITS.fullmatch(upper):
        return _symbol(_BY_ALIAS[match[1]], match[2])
    match = _CLASS_OF_SHARES.fullmatch(upper)
    return f"{match[1]}{'-' + match[2] if match[2] else ''}.US" if match else None


def _symbol(exchange: Exchange | None, code: str) -> str | None:
    """A code as a symbol of the exchange: the leading zeros of Hong Kong's have four digits, as Yahoo's."""
    code = code.replace(".", "-").replace("/", "-")
    if exchange is None or not re.fullmatch(exchange.code, code, re.ASCII):
        return None
    [suffix] = exchange.suffixes
    if suffix == "HK":
        code = code.lstrip("0").zfill(4)
    return f"{code}.{suffix}" if code.strip("0") else None


def is_known(symbol: str) -> bool:
    """Whether the suffix of a symbol is that of an exchange."""
    _, separator, suffix = split(symbol)
    return (suffix, separator == "-") in _BY_SUFFIX


def not_known(suffix: str) -> str:
    """That no exchange has a suffix, so that its clock is not known either, and which symbols there are."""
    return f"no exchange {suffix!r} is known; there are symbols as {', '.join(one.example for one in EXCHANGES)}"


def misspelt(symbol: str) -> bool:
    """Whether it is of no exchange that is known, or, of another than the mainland's, no symbol or spelt otherwise."""
    return not is_known(symbol) or (exchange_of(symbol) is not MAINLAND and canonical(symbol) != symbol)


def advice(text: str) -> str:
    """Why a text means no symbol, or could mean several, and what to write instead."""
    code = text.strip().upper()
    exchange = _BY_ALIAS.get(code.rpartition(".")[2])
    if exchange:
        return f"is no code of {exchange.name}; write it as {exchange.example}"
    found = f"names no exchange; {codes.advice(text)}"
    if re.fullmatch(r"\d{1,5}", code, re.ASCII):
        others = [f"{code.lstrip('0').zfill(4)}.HK", *([f"{code}.T"] if len(code) == 4 else [])]
        return f"{found}; or {' or '.join(others)}, if it is of another exchange"
    return f"{found}, or as {', '.join(one.example for one in EXCHANGES[1:])}"

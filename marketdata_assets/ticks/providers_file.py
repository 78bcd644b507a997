"""The providers file: its sections and their limits.

What the shipped file `providers.yaml` says is the default. Tokens and addresses do not belong here.
"""

import datetime as dt
import re
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import Field, PositiveFloat, field_validator, model_validator

from marketdata_assets import config_files
from marketdata_assets.config_files import Document, Location, Section
from marketdata_assets.reference.exchanges import EXCHANGES, MAINLAND, Exchange, exchange_of, is_known, not_known, split
from marketdata_assets.reference.records import Label

Table = Literal["tick_data", "order_book", "factors"]
TABLES: tuple[Table, ...] = get_args(Table)  # in loading order
NETWORK = ("tushare", "yahoo", "alpaca")
ALPACA_KEYS = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
"""The variables with the keys of an account: its id and its secret."""

DELIVERS: dict[str, frozenset[Table]] = {
    "tushare": frozenset({"tick_data", "factors"}),
    "yahoo": frozenset({"tick_data", "factors"}),
    "alpaca": frozenset({"tick_data"}),
    "files": frozenset({"tick_data", "order_book"}),
}
"""What our code can read from each provider; `supports` may say less, not more."""

SYMBOL = re.compile(r"[A-Z0-9]+(?:-[A-Z]+)?\.[A-Z]+|[A-Z0-9]+-[A-Z]+")


class RateLimits(Section):
    """At most so many requests, all processes together."""

    requests_per_minute: PositiveFloat
    requests_per_hour: PositiveFloat


class Network(Section):
    """How long one request is tried."""

    timeout: PositiveFloat  # seconds
    max_retries: Annotated[int, Field(ge=0, le=20)]  # attempts after the first
    backoff: PositiveFloat  # seconds; the pause before retry n is a random part of backoff * 2 ** (n - 1)


class Quality(Section):
    """Bars beyond these bounds are kept and flagged."""

    min_price: float
    max_price: PositiveFloat
    max_volume: PositiveFloat  # shares in one minute
    max_return: PositiveFloat  # from one bar's close to the next of the same day, 0.31 is 31 %

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if self.min_price >= self.max_price:
            raise ValueError(f"min_price {self.min_price} must be below max_price {self.max_price}")
        return self


class SymbolMapping(Section):
    """Our symbols `600000.SH` in the provider's spelling, and back.

    The suffix of a pair such as `BTC-USD` is its currency. A provider's suffix may be empty: then `AAPL.US` is `AAPL`.
    """

    others: ClassVar[dict[str, str]] = {}
    """The provider's suffixes of other exchanges than the mainland's, unless they are listed."""
    suffixes: dict[str, str]
    symbols: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _check_exchanges(self) -> Self:
        known = {suffix for one in EXCHANGES for suffix in one.suffixes}
        unknown = [suffix for suffix in self.suffixes if suffix not in known]
        unknown += [split(ours)[2] for ours in self.symbols if not is_known(ours)]
        if unknown:
            raise ValueError(not_known(unknown[0]))
        return self

    @model_validator(mode="after")
    def _check_reversible(self) -> Self:
        for name, pairs in (("suffixes", self.suffixes), ("symbols", self.symbols)):
            if len(set(pairs.values())) < len(pairs):
                raise ValueError(f"two {name} have the same name at the provider; then no answer could be told apart")
        for ours, theirs in self.symbols.items():
            other = self._by_suffix(theirs, self._back)
            if other is not None and other != ours and other not in self.symbols:
                raise ValueError(f"{theirs!r} is {ours} by its own line and {other} by its suffix")
        return self

    def theirs(self, symbol: str) -> str | None:
        """The provider's name of `symbol`; None when it has no such exchange."""
        return self.symbols.get(symbol) or self._by_suffix(symbol, self._forth)

    def ours(self, name: str) -> str | None:
        """The symbol that the provider calls `name`; None when no rule says so."""
        for ours, theirs in self.symbols.items():
            if theirs == name:
                return ours
        symbol = self._by_suffix(name, self._back)
        return None if symbol in self.symbols else symbol

    @cached_property
    def _forth(self) -> dict[str, str]:
        return self.others | self.suffixes

    @cached_property
    def _back(self) -> dict[str, str]:
        return {theirs: ours for ours, theirs in self._forth.items()}

    @staticmethod
    def _by_suffix(name: str, suffixes: dict[str, str]) -> str | None:
        code, separator, suffix = split(name)
        if suffix not in suffixes or (separator == "-" and not is_known(name)):
            code, separator, suffix = name, ".", ""
        if not code or "." in code or suffix not in suffixes:
            return None
        return f"{code}{separator}{suffixes[suffix]}" if suffixes[suffix] else code


class FileSymbols(SymbolMapping):
    """The symbols in dropped files; those of other exchanges are ours."""

    others: ClassVar[dict[str, str]] = {suffix: suffix for one in EXCHANGES[1:] for suffix in one.suffixes}


class YahooSymbols(SymbolMapping):
    """Yahoo's symbols."""

    others: ClassVar[dict[str, str]] = {
        ours: theirs for one in EXCHANGES[1:] for ours, theirs in zip(one.suffixes, one.yahoo, strict=True)
    }


class Session(Section):
    """The clock of the mainland's exchanges and the hours they trade, both ends included; see `of` for others."""

    timezone: str
    hours: list[str]

    def of(self, exchange: Exchange) -> "Session":
        """The session of an exchange: of another than the mainland's, what is known of it."""
        return self if exchange is MAINLAND else _session(exchange)

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"timezone {name!r} is not known; write it like Asia/Shanghai") from error
        return name

    @field_validator("hours")
    @classmethod
    def _check_hours(cls, hours: list[str]) -> list[str]:
        spans = [_span(text) for text in hours]
        if not spans or any(start >= end for start, end in spans):
            raise ValueError(f"hours {hours} must be spans such as 09:30-11:30, each with its start before its end")
        return hours

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def spans(self) -> tuple[tuple[dt.time, dt.time], ...]:
        return tuple(_span(text) for text in self.hours)


class FilesProvider(Section):
    """A provider without a network."""

    enabled: bool
    priority: int
    supports: Annotated[frozenset[Table], Field(strict=False)]
    quality: Quality
    symbol_mapping: SymbolMapping
    session: Session


class DroppedFiles(FilesProvider):
    """Dropped files, whose bars of an exchange are all labelled by one end of their minute."""

    symbol_mapping: FileSymbols
    label: Label = "end"  # of Shanghai, Shenzhen and Beijing
    labels: dict[str, Label] = Field(default={})  # of others, by the suffix of symbols; those without are start

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: dict[str, Label]) -> dict[str, Label]:
        for suffix, label in labels.items():
            exchange = next((one for one in EXCHANGES[1:] if suffix in one.suffixes), None)
            if exchange is None:
                raise ValueError(f"{suffix!r} is no suffix of another exchange than those of label")
            if exchange.always_open and label == "end":
                raise ValueError(
                    f"{suffix}: the last minute of a day that never ends has the label of the next; use start"
                )
        return labels

    def label_of(self, symbol: str) -> Label:
        """The end of its minute that labels a bar of a symbol."""
        default: Label = self.label if exchange_of(symbol) is MAINLAND else "start"
        return self.labels.get(split(symbol)[2], default)


class WebProvider(FilesProvider):
    """A provider with an HTTP API."""

    rate_limits: RateLimits
    network: Network


class YahooProvider(WebProvider):
    """Yahoo, which has most exchanges."""

    symbol_mapping: YahooSymbols


class Queue(Section):
    """In which order symbols are loaded."""

    first: list[str] = Field(default=[])  # before all others, in this order

    @field_validator("first")
    @classmethod
    def _check_symbols(cls, symbols: list[str]) -> list[str]:
        if odd := [symbol for symbol in symbols if not SYMBOL.fullmatch(symbol)]:
            raise ValueError(f"{odd[0]!r} is no symbol such as 600000.SH")
        if twice := [symbol for symbol in symbols if symbols.count(symbol) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
        return symbols


class Providers(Section):
    """The whole file; a provider without a section is not used."""

    queue: Queue = Queue()
    tushare: WebProvider | None = None
    yahoo: YahooProvider | None = None
    files: DroppedFiles | None = None
    alpaca: WebProvider | None = None


@lru_cache
def _session(exchange: Exchange) -> Session:
    """The hours of an exchange, with those in which its closing auction is reported."""
    spans, last = [], 24 * 60 - 1
    for number, (start, length) in enumerate(exchange.sessions, 1):
        first = start.hour * 60 + start.minute
        end = first + length + (exchange.auction if number == len(exchange.sessions) else 0)
        spans.append(
            "-".join(f"{hour:02}:{minute:02}" for hour, minute in (divmod(first, 60), divmod(min(end, last), 60)))
        )
    return Session(timezone=exchange.timezone, hours=spans)


def chosen(file: Path | None) -> Providers:
    """A file of one's own, else the shipped one. Raises InvalidConfigFile."""
    return read(file) if file else shipped()


@cache
def shipped() -> Providers:
    """The file that comes with the package."""
    return parse(files("marketdata_assets.ticks").joinpath("providers.yaml").read_text("utf-8"), "providers.yaml")


def parse(text: str, file: str) -> Providers:
    """Validate the text of a providers file; `file` names it in errors. Raises InvalidConfigFile."""
    return _validated(config_files.parse(text, file))


def read(file: Path) -> Providers:
    """Read a providers file. Raises InvalidConfigFile."""
    return _validated(config_files.read(file))


def _validated(document: Document) -> Providers:
    providers = document.validate(Providers)
    problems: list[tuple[Location, str]] = []
    for name, tables in DELIVERS.items():
        section: FilesProvider | None = getattr(providers, name)
        if section is not None and (more := sorted(section.supports - tables)):
            cause = f"{name} has no {', '.join(more)}; it has {', '.join(sorted(tables))}"
            problems.append(((name, "supports"), cause))
    document.check(problems)
    return providers


def _span(text: str) -> tuple[dt.time, dt.time]:
    start, _, end = text.partition("-")
    try:
        return dt.time.fromisoformat(start.strip()), dt.time.fromisoformat(end.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no span such as 09:30-11:30") from error

"""The providers file: its sections and their limits.

What the shipped file `providers.yaml` says is the default. Tokens and addresses do not belong here.
"""

import datetime as dt
import re
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import Field, PositiveFloat, field_validator, model_validator

from marketdata_assets import config_files
from marketdata_assets.config_files import Document, Location, Section
from marketdata_assets.reference.records import Label

Table = Literal["tick_data", "order_book", "factors"]
TABLES: tuple[Table, ...] = get_args(Table)  # in loading order
NETWORK = ("tushare", "yahoo", "alpaca")

DELIVERS: dict[str, frozenset[Table]] = {
    "tushare": frozenset({"tick_data", "factors"}),
    "yahoo": frozenset({"tick_data", "factors"}),
    "alpaca": frozenset({"tick_data"}),
    "files": frozenset({"tick_data", "order_book"}),
}
"""What our code can read from each provider; `supports` may say less, not more."""

SYMBOL = re.compile(r"[A-Z0-9]+\.[A-Z]+")


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
    """Our symbols `600000.SH` in the provider's spelling, and back."""

    suffixes: dict[str, str]
    symbols: dict[str, str] = Field(default={})

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
        return self.symbols.get(symbol) or self._by_suffix(symbol, self.suffixes)

    def ours(self, name: str) -> str | None:
        """The symbol that the provider calls `name`; None when no rule says so."""
        for ours, theirs in self.symbols.items():
            if theirs == name:
                return ours
        symbol = self._by_suffix(name, self._back)
        return None if symbol in self.symbols else symbol

    @cached_property
    def _back(self) -> dict[str, str]:
        return {theirs: ours for ours, theirs in self.suffixes.items()}

    @staticmethod
    def _by_suffix(name: str, suffixes: dict[str, str]) -> str | None:
        code, dot, suffix = name.rpartition(".")
        return f"{code}.{suffixes[suffix]}" if code and dot and suffix in suffixes else None


class Session(Section):
    """The exchange's clock and the hours it trades, both ends included."""

    timezone: str
    hours: list[str]

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
    """Dropped files, whose bars are all labelled by one end of their minute."""

    label: Label = "end"


class WebProvider(FilesProvider):
    """A provider with an HTTP API."""

    rate_limits: RateLimits
    network: Network


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
    yahoo: WebProvider | None = None
    files: DroppedFiles | None = None
    alpaca: WebProvider | None = None


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

"""The providers file: YAML in, frozen values out, and an error for everything in it that nobody would read.

What the shipped file `providers.yaml` says is the default. Tokens and addresses do not belong here.
"""

import datetime as dt
import re
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

from marketdata_assets import config_files
from marketdata_assets.ticks.errors import BadProviders

Table = Literal["tick_data", "order_book", "factors"]
TABLES: tuple[Table, ...] = get_args(Table)

DELIVERS: dict[str, frozenset[Table]] = {
    "tushare": frozenset({"tick_data", "factors"}),
    "yahoo": frozenset({"tick_data", "factors"}),
    "files": frozenset({"tick_data", "order_book"}),
}
"""What our code can read from each provider; `supports` may say less, not more."""

_SYMBOL = re.compile(r"[A-Z0-9]+\.[A-Z]+")


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A section of the file."""


class RateLimits(_Frozen, frozen=True):
    """At most so many requests, all processes together."""

    requests_per_minute: float
    requests_per_hour: float

    def __post_init__(self) -> None:
        _positive(self, "requests_per_minute", "requests_per_hour")


class Network(_Frozen, frozen=True):
    """How long one request is tried."""

    timeout: float  # seconds
    max_retries: int  # attempts after the first
    backoff: float  # seconds; the pause before retry n is a random part of backoff * 2 ** (n - 1)

    def __post_init__(self) -> None:
        _positive(self, "timeout", "backoff")
        if not 0 <= self.max_retries <= 20:
            raise ValueError(f"max_retries must be from 0 to 20, was {self.max_retries}")


class Quality(_Frozen, frozen=True):
    """Bars beyond these bounds are kept and flagged."""

    min_price: float
    max_price: float
    max_volume: float  # shares in one minute
    max_return: float  # from one bar's close to the next of the same day, 0.31 is 31 %

    def __post_init__(self) -> None:
        _positive(self, "max_price", "max_volume", "max_return")
        if self.min_price >= self.max_price:
            raise ValueError(f"min_price {self.min_price} must be below max_price {self.max_price}")


class SymbolMapping(_Frozen, frozen=True):
    """Our symbols `600000.SH` in the provider's spelling, and back."""

    suffixes: dict[str, str]
    symbols: dict[str, str] = {}

    def __post_init__(self) -> None:
        for name, pairs in (("suffixes", self.suffixes), ("symbols", self.symbols)):
            if len(set(pairs.values())) < len(pairs):
                raise ValueError(f"two {name} have the same name at the provider; then no answer could be told apart")
        for ours, theirs in self.symbols.items():
            other = self._by_suffix(theirs, self._back)
            if other is not None and other != ours and other not in self.symbols:
                raise ValueError(f"{theirs!r} is {ours} by its own line and {other} by its suffix")

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


class Session(_Frozen, frozen=True):
    """The exchange's clock and the hours it trades, both ends included."""

    timezone: str
    hours: list[str]

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"timezone {self.timezone!r} is not known; write it like Asia/Shanghai") from error
        if not self.spans or any(start >= end for start, end in self.spans):
            raise ValueError(
                f"hours {self.hours} must be spans such as 09:30-11:30, each with its start before its end"
            )

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def spans(self) -> tuple[tuple[dt.time, dt.time], ...]:
        return tuple(_span(text) for text in self.hours)


class FilesProvider(_Frozen, frozen=True):
    """A provider without a network."""

    enabled: bool
    priority: int
    supports: frozenset[Table]
    quality: Quality
    symbol_mapping: SymbolMapping
    session: Session


class WebProvider(FilesProvider, frozen=True):
    """A provider that is asked over HTTP."""

    rate_limits: RateLimits
    network: Network


class Queue(_Frozen, frozen=True):
    """In which order symbols are loaded."""

    first: list[str] = []  # before all others, in this order

    def __post_init__(self) -> None:
        if len(set(self.first)) < len(self.first):
            raise ValueError("first names a symbol twice")
        if odd := [symbol for symbol in self.first if not _SYMBOL.fullmatch(symbol)]:
            raise ValueError(f"first: {odd[0]!r} is no symbol such as 600000.SH")


class Providers(_Frozen, frozen=True):
    """The whole file; a provider without a section is not used."""

    queue: Queue = Queue()
    tushare: WebProvider | None = None
    yahoo: WebProvider | None = None
    files: FilesProvider | None = None


def shipped() -> Providers:
    """The file that comes with the package."""
    return parse(files("marketdata_assets.ticks").joinpath("providers.yaml").read_text(), "providers.yaml")


def read(file: Path) -> Providers:
    """Read `file`; BadProviders names the file, the key and the remedy when it cannot be used."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadProviders(str(file), f"cannot be read ({error})") from error
    return parse(text, str(file))


def parse(text: str, place: str) -> Providers:
    """Validate the text of a providers file; `place` is its name in errors."""
    try:
        data = config_files.parse(text)
    except ValueError as error:
        raise BadProviders(place, str(error)) from error
    sections: dict[str, type[msgspec.Struct]] = {
        "queue": Queue,
        "tushare": WebProvider,
        "yahoo": WebProvider,
        "files": FilesProvider,
    }
    if not isinstance(data, dict):
        raise BadProviders(place, f"expected sections {', '.join(sections)}; the file has none")
    _check_keys(data, tuple(sections), place, "")
    for name, section in data.items():
        _check_section(section, sections[name], place, name)
    try:
        providers = msgspec.convert(data, Providers)
    except msgspec.ValidationError as error:
        cause, _, where = str(error).partition(" - at `$.")
        raise BadProviders(place, f"{where.rstrip('`')}: {cause}" if where else cause) from error
    _check_supports(providers, place)
    return providers


def _check_section(section: object, kind: type[msgspec.Struct], place: str, path: str) -> None:
    if not isinstance(section, dict):
        raise BadProviders(place, f"{path} must have keys of its own, was {section!r}")
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    _check_keys(section, tuple(fields), place, path)
    for key, value in section.items():
        field = fields[key]
        if isinstance(field, type) and issubclass(field, msgspec.Struct):
            _check_section(value, field, place, f"{path}.{key}")


def _check_keys(section: dict[Any, Any], known: tuple[str, ...], place: str, path: str) -> None:
    try:
        config_files.check_keys(section, known, path)
    except ValueError as error:
        raise BadProviders(place, str(error)) from error


def _check_supports(providers: Providers, place: str) -> None:
    for name, can in DELIVERS.items():
        section: FilesProvider | None = getattr(providers, name)
        if section is not None and (more := sorted(section.supports - can)):
            has = ", ".join(sorted(can))
            raise BadProviders(place, f"{name}.supports: {name} has no {', '.join(more)}; it has {has}")


def _positive(section: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        value = getattr(section, key)
        if not 0 < value < float("inf"):
            raise ValueError(f"{key} must be above 0, was {value}")


def _span(text: str) -> tuple[dt.time, dt.time]:
    start, _, end = text.partition("-")
    try:
        return dt.time.fromisoformat(start.strip()), dt.time.fromisoformat(end.strip())
    except ValueError as error:
        raise ValueError(f"hours: {text!r} is no span such as 09:30-11:30") from error

"""The collector's file: YAML in, frozen values out, and an error for everything in it that nobody would read.

The shipped file is `collector.yaml`. Where servers are, and secrets, is the business of `servers`.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, field_validator
from pydantic_settings import SettingsError

from marketdata_assets import config_files
from marketdata_assets.collector.errors import BadConfig
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.http_client import LOOPBACK
from marketdata_assets.settings import CollectorSettings

DataType = Literal["trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest", "liquidation"]
DERIVATIVES: frozenset[DataType] = frozenset({"funding_rate", "open_interest", "liquidation"})
"""What no spot market has."""

SHIPPED = "collector.yaml"
Auto = bool | Literal["auto"]
Seconds = PositiveFloat
Gigabytes = PositiveFloat
Names = Annotated[list[str], Field(min_length=1)]

OVERRIDES: dict[str, tuple[str, ...]] = {
    "enable_binance": ("exchanges", "binance", "enabled"),
    "enable_okx": ("exchanges", "okx", "enabled"),
    "enable_deribit": ("exchanges", "deribit", "enabled"),
    "clickhouse_direct_write": ("clickhouse", "direct_write"),
    "redis_cache": ("redis", "cache"),
    "log_level": ("log_level",),
    "http_host": ("http", "host"),
    "http_port": ("http", "port"),
}
"""Environment variables (in lower case) that are stronger than the file; SYMBOLS is, too."""


class _Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Http(_Section):
    """Where the collector is asked how it is."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can ask."""
        return self.host in LOOPBACK


class Market(_Section):
    """What is taken from one market of a venue."""

    symbols: Names
    data_types: Annotated[list[DataType], Field(min_length=1)]
    kline_intervals: Names = ["1m"]
    ws_url: str | None = None
    base_url: str | None = None

    @field_validator("symbols", "data_types", "kline_intervals")
    @classmethod
    def _once(cls, names: list[str]) -> list[str]:
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is there twice")
        return names

    @field_validator("ws_url", "base_url")
    @classmethod
    def _safe(cls, url: str | None, info: Any) -> str | None:
        plain, safe = ("ws", "wss") if info.field_name == "ws_url" else ("http", "https")
        if url is None:
            return None
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0]
        if "@" in host or (scheme != safe and not (scheme == plain and host.rpartition(":")[0] in LOOPBACK)):
            raise ValueError(f"must be {safe}://host, or {plain}://127.0.0.1:port")
        return url.rstrip("/")


class Venue(_Section):
    """One exchange and its markets."""

    enabled: bool = True
    markets: Annotated[dict[MarketType, Market], Field(min_length=1)]

    @field_validator("markets")
    @classmethod
    def _possible(cls, markets: dict[MarketType, Market]) -> dict[MarketType, Market]:
        if "spot" in markets and (odd := sorted(DERIVATIVES.intersection(markets["spot"].data_types))):
            raise ValueError(f"spot has no {', '.join(odd)}")
        return markets


class Connections(_Section):
    """How sockets are kept and how often REST is asked. What a venue demands is kept to anyway."""

    backoff_seconds: Seconds = 0.5
    longest_backoff_seconds: Seconds = 60.0
    age_seconds: Seconds | None = None
    silence_seconds: dict[DataType, Seconds] = {}
    snapshot_seconds: Seconds = 30.0
    poll_seconds: Seconds = 30.0
    listing_hours: PositiveFloat = 24.0


class JetStream(_Section):
    """The stream, and what is kept until it has it."""

    enabled: Auto = "auto"
    stream: str = Field(default="MARKET", pattern=r"^[A-Za-z0-9_-]+$")
    max_gigabytes: Gigabytes = 8.0
    max_age_hours: PositiveFloat = 48.0
    duplicate_window_seconds: Seconds = 120.0
    queue_items: PositiveInt = 100_000
    spool_gigabytes: Gigabytes = 4.0


class ClickHouse(_Section):
    """Writing into the tables without JetStream between."""

    direct_write: bool = False
    batch_rows: PositiveInt = 20_000
    batch_seconds: Seconds = 3.0
    queue_items: PositiveInt = 100_000
    spool_gigabytes: Gigabytes = 4.0


class Redis(_Section):
    """The last values of each instrument."""

    cache: bool = False
    prefix: str = Field(default="market", pattern=r"^[A-Za-z0-9_-]+$")
    ttl_seconds: PositiveInt = 3600
    flush_seconds: Seconds = 0.1


class Capture(_Section):
    """Raw messages in files."""

    enabled: Auto = "auto"
    folder: Annotated[Path, Field(strict=False)] | None = None
    flush_seconds: Seconds = 1.0
    file_megabytes: PositiveInt = 256
    file_minutes: PositiveFloat = 60.0
    buffer_megabytes: PositiveInt = 64


class HealthLimits(_Section):
    """From when on the collector is no longer called healthy."""

    start_seconds: Seconds = 30.0
    silence_seconds: Seconds = 60.0
    book_seconds: Seconds = 120.0
    queue_share: float = Field(default=0.8, gt=0, le=1)


class Config(_Section):
    """The whole file."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_seconds: Seconds = 30.0
    http: Http = Http()
    exchanges: Annotated[dict[Exchange, Venue], Field(min_length=1)]
    connections: Connections = Connections()
    jetstream: JetStream = JetStream()
    clickhouse: ClickHouse = ClickHouse()
    redis: Redis = Redis()
    capture: Capture = Capture()
    health: HealthLimits = HealthLimits()

    def markets(self) -> Iterator[tuple[Exchange, MarketType, Market]]:
        """The markets that are collected."""
        for exchange, venue in self.exchanges.items():
            if venue.enabled:
                for market_type, market in venue.markets.items():
                    yield exchange, market_type, market


def shipped() -> str:
    """The text of the file that comes with the package."""
    return files("marketdata_assets.collector").joinpath(SHIPPED).read_text("utf-8")


def read(file: Path | None, overrides: CollectorSettings | None = None) -> Config:
    """Read `file`, or the shipped one. Raises BadConfig with the file, the key and the remedy."""
    if file is None:
        return parse(shipped(), SHIPPED, overrides)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(str(file), f"cannot be read ({error})") from error
    return parse(text, str(file), overrides)


def parse(text: str, place: str, overrides: CollectorSettings | None = None) -> Config:
    """Validate the text of a file; `place` is its name in errors. Raises BadConfig."""
    try:
        data = config_files.parse(text)
        if not isinstance(data, dict):
            raise ValueError(f"expected sections {', '.join(Config.model_fields)}; the file has none")
        _check(data, Config, "")
    except ValueError as error:
        raise BadConfig(place, str(error)) from error
    strong = _override(data, overrides) if overrides else {}
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise _bad(place, strong, error) from error
    if not any(True for _ in config.markets()):
        raise BadConfig(place, "no exchange is enabled, so there is nothing to collect. Set enabled: true for one.")
    return config


def environment() -> CollectorSettings:
    """The variables that are stronger than the file. Raises BadConfig that names the variable."""
    try:
        return CollectorSettings()
    except ValidationError as error:
        first = error.errors()[0]
        raise BadConfig(_variable(first["loc"]), f"{first['msg']}, was {first['input']!r}") from error
    except SettingsError as error:
        raise BadConfig("environment", str(error)) from error


def _override(data: dict[str, Any], overrides: CollectorSettings) -> dict[tuple[str, ...], str]:
    """Put the variables over the file's values; which place has which variable's value."""
    strong: dict[tuple[str, ...], str] = {}
    for name, path in OVERRIDES.items():
        value = getattr(overrides, name)
        if value is None:
            continue
        if path[0] == "exchanges" and value and path[1] not in _below(data, "exchanges"):
            _below(data, "exchanges")[path[1]] = config_files.parse(shipped())["exchanges"][path[1]]
        if path[0] == "exchanges" and path[1] not in _below(data, "exchanges"):
            continue  # what is not there is not enabled
        section = data
        for key in path[:-1]:
            section = _below(section, key)
        section[path[-1]] = value.lower() if isinstance(value, str) else value
        strong[path] = name.upper()
    if overrides.symbols is not None:
        names = [name.strip() for name in overrides.symbols.split(",") if name.strip()]
        for exchange, venue in _below(data, "exchanges").items():
            for market_type, market in venue.get("markets", {}).items():
                market["symbols"] = names
                strong["exchanges", exchange, "markets", market_type, "symbols"] = "SYMBOLS"
    return strong


def _below(section: dict[str, Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = section.setdefault(key, {})
    return found


def _check(section: Mapping[str, Any], kind: type[BaseModel], path: str) -> None:
    """Whether all keys are known, here and in the sections below; what they say is not looked at."""
    config_files.check_keys(section, kind.model_fields, path)
    for key, value in section.items():
        where = f"{path}.{key}" if path else key
        below = kind.model_fields[key].annotation
        if get_origin(below) is dict:
            names, below = get_args(below)
            found = _section(value, where)
            config_files.check_keys(found, get_args(names), where)
        else:
            found = {"": value}
        if isinstance(below, type) and issubclass(below, BaseModel):
            for name, one in found.items():
                place = f"{where}.{name}" if name else where
                _check(_section(one, place), below, place)


def _section(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must have keys of its own, was {value!r}")
    return value


def _bad(place: str, strong: Mapping[tuple[str, ...], str], error: ValidationError) -> BadConfig:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if not _is_member(part)]
    cause = first["msg"].removeprefix("Value error, ")
    for length in range(len(path), 0, -1):
        if variable := strong.get(tuple(path[:length])):
            return BadConfig(variable, f"{cause}, was {first['input']!r}")
    was = "" if first["type"] in ("missing", "value_error") else f", was {first['input']!r}"
    return BadConfig(place, f"{'.'.join(path)}: {cause}{was}")


def _is_member(part: object) -> bool:
    """Whether a part of an error's place is the name of a union's member, not a key."""
    return isinstance(part, str) and ("[" in part or part in ("bool", "str", "nullable"))


def _variable(loc: tuple[int | str, ...]) -> str:
    return str(loc[0]).upper()

"""The collector's configuration file: its sections, their defaults and limits, and the variables that override them.

The shipped file is `collector.yaml`. Addresses of servers and secrets are in `servers`.
"""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator
from pydantic_settings import SettingsError

from marketdata_assets import config_files
from marketdata_assets.config_files import Document, InvalidConfigFile, Problem, Section
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


class Http(Section):
    """Where the collector serves its status and metrics."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)


class Market(Section):
    """What is taken from one market of a venue."""

    symbols: Names
    data_types: Annotated[list[DataType], Field(min_length=1)]
    kline_intervals: Names = Field(default=["1m"])
    ws_url: str | None = None
    base_url: str | None = None

    @field_validator("symbols", "data_types", "kline_intervals")
    @classmethod
    def _once(cls, names: list[str]) -> list[str]:
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
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


class Venue(Section):
    """One exchange and its markets."""

    enabled: bool = True
    markets: Annotated[dict[MarketType, Market], Field(min_length=1)]

    @field_validator("markets")
    @classmethod
    def _possible(cls, markets: dict[MarketType, Market]) -> dict[MarketType, Market]:
        if "spot" in markets and (odd := sorted(DERIVATIVES.intersection(markets["spot"].data_types))):
            raise ValueError(f"spot has no {', '.join(odd)}")
        return markets


class Connections(Section):
    """How sockets are maintained and how often REST is polled. The limits of a venue always apply."""

    backoff_seconds: Seconds = 0.5
    longest_backoff_seconds: Seconds = 60.0
    age_seconds: Seconds | None = None
    silence_seconds: dict[DataType, Seconds] = Field(default={})
    snapshot_seconds: Seconds = 30.0
    poll_seconds: Seconds = 30.0
    listing_hours: PositiveFloat = 24.0


class JetStream(Section):
    """The stream, and what is kept until it has it."""

    enabled: Auto = "auto"
    stream: str = Field(default="MARKET", pattern=r"^[A-Za-z0-9_-]+$")
    max_gigabytes: Gigabytes = 8.0
    max_age_hours: PositiveFloat = 48.0
    duplicate_window_seconds: Seconds = 120.0
    queue_items: PositiveInt = 100_000
    spool_gigabytes: Gigabytes = 4.0


class ClickHouse(Section):
    """Writing into the tables without JetStream between."""

    direct_write: bool = False
    batch_rows: PositiveInt = 20_000
    batch_seconds: Seconds = 3.0
    queue_items: PositiveInt = 100_000
    spool_gigabytes: Gigabytes = 4.0


class Redis(Section):
    """The last values of each instrument."""

    cache: bool = False
    prefix: str = Field(default="market", pattern=r"^[A-Za-z0-9_-]+$")
    ttl_seconds: PositiveInt = 3600
    flush_seconds: Seconds = 0.1


class Capture(Section):
    """Raw messages in files."""

    enabled: Auto = "auto"
    folder: Annotated[Path, Field(strict=False)] | None = None
    flush_seconds: Seconds = 1.0
    file_megabytes: PositiveInt = 256
    file_minutes: PositiveFloat = 60.0
    buffer_megabytes: PositiveInt = 64


class HealthLimits(Section):
    """From when on the collector is no longer called healthy."""

    start_seconds: Seconds = 30.0
    silence_seconds: Seconds = 60.0
    book_seconds: Seconds = 120.0
    queue_share: float = Field(default=0.8, gt=0, le=1)


class Config(Section):
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
    """Read `file`, or the shipped one. Raises InvalidConfigFile."""
    return parse(shipped(), SHIPPED, overrides) if file is None else _validated(config_files.read(file), overrides)


def parse(text: str, file: str, overrides: CollectorSettings | None = None) -> Config:
    """Validate a YAML text; `file` names it in errors. Raises InvalidConfigFile."""
    return _validated(config_files.parse(text, file), overrides)


def environment() -> CollectorSettings:
    """The variables that are stronger than the file. Raises InvalidConfigFile that names each wrong variable."""
    try:
        return CollectorSettings()
    except ValidationError as error:
        raise config_files.invalid_variables(error) from error
    except SettingsError as error:
        raise InvalidConfigFile([Problem("environment", None, "", str(error))]) from error


def _validated(document: Document, overrides: CollectorSettings | None) -> Config:
    if overrides is not None and isinstance(document.data, dict):
        _override(document, overrides)
    config = document.validate(Config)
    if not any(True for _ in config.markets()):
        document.check([((), "no exchange is enabled, so there is nothing to collect. Set enabled: true for one.")])
    return config


def _override(document: Document, overrides: CollectorSettings) -> None:
    exchanges = document.data.setdefault("exchanges", {})
    for name, path in OVERRIDES.items():
        value = getattr(overrides, name)
        if value is None or (path[0] == "exchanges" and not isinstance(exchanges, dict)):
            continue
        if path[0] == "exchanges" and path[1] not in exchanges:
            if not value:
                continue  # an exchange that the file does not have is not enabled
            exchanges[path[1]] = config_files.parse(shipped(), SHIPPED).data["exchanges"][path[1]]
        document.override(path, value.lower() if isinstance(value, str) else value, name.upper())
    if overrides.symbols is not None:
        names = [name.strip() for name in overrides.symbols.split(",") if name.strip()]
        for exchange, venue in exchanges.items() if isinstance(exchanges, dict) else ():
            markets = venue.get("markets") if isinstance(venue, dict) else None
            for market_type in markets if isinstance(markets, dict) else ():
                document.override(("exchanges", exchange, "markets", market_type, "symbols"), names, "SYMBOLS")

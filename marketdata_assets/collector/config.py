"""The collector's configuration file: its sections, their defaults and limits, and the variables that override them.

The descriptors of the venues say what omitted keys of `exchanges` are, and what is impossible there. The shipped file
is `collector.yaml`. Addresses of servers and secrets are in `servers`.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic_settings import SettingsError

from marketdata_assets import config_files
from marketdata_assets.collector import earlier_config
from marketdata_assets.collector.symbols import EXCLUDE, is_pattern
from marketdata_assets.config_files import Document, InvalidConfigFile, Location, Problem, Section
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import UnknownInstrument
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import DataType, Exchange, MarketType
from marketdata_assets.exchanges.venue import TESTNET, VenueMarket
from marketdata_assets.exchanges.venue import Venue as VenueDescriptor
from marketdata_assets.exchanges.venue_adapter import Choice
from marketdata_assets.http_client import DIRECT
from marketdata_assets.proxies import LOOPBACK
from marketdata_assets.settings import CollectorSettings

RecordType = Literal[DataType, "gap", "book_top"]
"""What a Python sink may receive."""

SHIPPED = "collector.yaml"
Auto = bool | Literal["auto"]
Seconds = PositiveFloat
Gigabytes = PositiveFloat
Names = Annotated[list[str], Field(min_length=1)]

OVERRIDES: dict[str, tuple[str, ...]] = {
    **{f"enable_{name}": ("exchanges", name, "enabled") for name in venues.names()},
    "clickhouse_direct_write": ("clickhouse", "direct_write"),
    "redis_cache": ("redis", "cache"),
    "log_level": ("log_level",),
    "http_host": ("http", "host"),
    "http_port": ("http", "port"),
}
"""Environment variables (in lower case) that are stronger than the file; SYMBOLS and EXCHANGES are, too."""

Variables: type[CollectorSettings] = create_model(
    "Variables",
    __base__=CollectorSettings,
    **{  # type: ignore[call-overload]
        f"enable_{name}": (bool | None, Field(default=None, description=f"exchanges.{name}.enabled"))
        for name in venues.names()
    },
)
"""CollectorSettings, and ENABLE_<VENUE> for each venue."""


def _collected() -> list[str]:
    """The exchanges that a file may name; simulators are for `marketdata collect --simulated`."""
    return [*venues.names(), *(f"{one.name}-{TESTNET}" for one in venues.every() if one.testnet)]


def _known(name: str) -> str:
    if name not in _collected():
        raise ValueError(config_files.unknown_key(name, _collected()))
    return name


_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")

VenueName = Annotated[Exchange, AfterValidator(_known)]


class Http(Section):
    """Where the collector serves its status and metrics."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)


class Market(Section):
    """What is taken from one market of a venue."""

    symbols: Names = Field(default=[])  # the venue has the default
    data_types: Annotated[list[DataType], Field(min_length=1)] = Field(default=[])
    kline_intervals: Names = Field(default=["1m"])
    book_depth: Annotated[int, Field(gt=0)] | None = None
    book_speed: str | None = None
    book_channel: str | None = None
    trade_channel: str | None = None
    match_dollar_quotes: bool = False
    max_instruments: PositiveInt = 1000
    ws_url: str | None = None
    base_url: str | None = None

    @property
    def choices(self) -> dict[Choice, str]:
        """What is chosen of the channels."""
        return {name: value for name in get_args(Choice) if (value := getattr(self, name)) is not None}

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
        host = rest.rstrip("/")  # a venue's paths are in its adapter
        local = scheme == plain and host.rpartition(":")[0] in LOOPBACK
        if not _HOST.fullmatch(host) or (scheme != safe and not local):
            raise ValueError(f"must be {safe}://host, or {plain}://127.0.0.1:port")
        return url.rstrip("/")


class Venue(Section):
    """One exchange and its markets. `proxy` is for its REST and WebSockets, instead of that of the environment."""

    enabled: bool = True
    proxy: str | None = None
    markets: Annotated[dict[MarketType, Market], Field(min_length=1)]

    @field_validator("proxy")
    @classmethod
    def _usable(cls, url: str | None) -> str | None:
        if url in (None, DIRECT) or re.fullmatch(rf"http://{_HOST.pattern}/?", url or ""):
            return url
        raise ValueError("must be http://host:port, or direct for no proxy; one with a password belongs in HTTPS_PROXY")


class Connections(Section):
    """How sockets are maintained and how often REST is polled. The limits of a venue always apply."""

    backoff_seconds: Seconds = 0.5
    longest_backoff_seconds: Seconds = 60.0
    age_seconds: Seconds | None = None
    silence_seconds: dict[DataType, Seconds] = Field(default={})
    snapshot_seconds: Seconds = 30.0
    book_checkpoint_seconds: Seconds = 3600.0
    book_checkpoint_updates: PositiveInt = 20_000
    poll_seconds: Seconds = 30.0
    listing_hours: PositiveFloat = 24.0
    receive_kilobytes: Annotated[int, Field(ge=16, le=65_536)] = 256
    pattern_seconds: Seconds = 300.0


class OrderbookTop(Section):
    """Records of the best levels of books; those of `levels` 0 are not made."""

    levels: NonNegativeInt = 0
    interval_ms: PositiveInt = 100


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
    book_levels: NonNegativeInt = 20
    liquidations: NonNegativeInt = 100


class Capture(Section):
    """Raw messages in files."""

    enabled: Auto = "auto"
    folder: Annotated[Path, Field(strict=False)] | None = None
    flush_seconds: Seconds = 1.0
    file_megabytes: PositiveInt = 256
    file_minutes: PositiveFloat = 60.0
    buffer_megabytes: PositiveInt = 64


class Output(Section):
    """Records as lines of JSON on the standard output, as they arrive."""

    stdout: bool = False
    queue_items: Annotated[int, Field(ge=2)] = 100_000


class PythonSink(Section):
    """A function or class of the user that receives batches of records."""

    python: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")
    types: Annotated[list[RecordType], Field(min_length=1)] = Field(default=[*get_args(RecordType)])
    options: dict[str, Any] = Field(default={})
    queue_items: Annotated[int, Field(ge=2)] = 100_000
    batch_items: PositiveInt = 1000


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
    exchanges: Annotated[dict[VenueName, Venue], Field(min_length=1)]
    connections: Connections = Connections()
    orderbook_top: OrderbookTop = OrderbookTop()
    jetstream: JetStream = JetStream()
    clickhouse: ClickHouse = ClickHouse()
    redis: Redis = Redis()
    capture: Capture = Capture()
    output: Output = Output()
    sinks: list[PythonSink] = Field(default=[])
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
        return Variables()
    except ValidationError as error:
        raise config_files.invalid_variables(error) from error
    except SettingsError as error:
        raise InvalidConfigFile([Problem("environment", None, "", str(error))]) from error


def _validated(document: Document, overrides: CollectorSettings | None) -> Config:
    if isinstance(document.data, dict):
        earlier = earlier_config.earlier_keys(document.data, Config.model_fields)
        remedy = "; convert the file with marketdata collect convert"
        document.check((location, now + remedy) for location, now in earlier)
        _complete(document.data.get("exchanges"))
        if overrides is not None:
            _override(document, overrides)
    config = document.validate(Config)
    document.check(
        problem
        for exchange, section in config.exchanges.items()
        for market_type, market in section.markets.items()
        for problem in _problems(exchange, market_type, market)
    )
    if not any(True for _ in config.markets()):
        document.check([((), "no exchange is enabled, so there is nothing to collect. Set enabled: true for one.")])
    return config


def _override(document: Document, overrides: CollectorSettings) -> None:
    exchanges = document.data.setdefault("exchanges", {})
    if overrides.exchanges is not None and isinstance(exchanges, dict):
        _enable_only(document, exchanges, split(overrides.exchanges))
    for name, path in OVERRIDES.items():
        value = getattr(overrides, name)
        if value is None or (path[0] == "exchanges" and not isinstance(exchanges, dict)):
            continue
        if path[0] == "exchanges" and path[1] not in exchanges:
            if not value:
                continue  # an exchange that the file does not have is not enabled
            _add(exchanges, path[1])
        document.override(path, value.lower() if isinstance(value, str) else value, name.upper())
    if overrides.symbols is not None:
        names = split(overrides.symbols)
        for exchange, venue in exchanges.items() if isinstance(exchanges, dict) else ():
            markets = venue.get("markets") if isinstance(venue, dict) else None
            for market_type in markets if isinstance(markets, dict) else ():
                at = ("exchanges", exchange, "markets", market_type)
                document.override((*at, "symbols"), names, "SYMBOLS")
                document.override((*at, "match_dollar_quotes"), True, "SYMBOLS")


def _enable_only(document: Document, exchanges: dict[str, Any], names: list[str]) -> None:
    """Enable these venues and disable all others of the file."""
    for name in names:
        if name not in _collected():
            raise InvalidConfigFile([Problem("EXCHANGES", None, "", str(venues.unknown(name)))])
        if name not in exchanges:
            _add(exchanges, name)
    for name in exchanges:
        document.override(("exchanges", name, "enabled"), name in names, "EXCHANGES")


def _add(exchanges: dict[str, Any], name: str) -> None:
    """Add the section of a venue that the file does not have."""
    exchanges[name] = None
    _complete(exchanges)


def split(text: str) -> list[str]:
    """The names of a list with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _complete(exchanges: Any) -> None:
    """Add what the file omits: a venue's usual markets, their symbols and data types. Nothing is validated."""
    for name, section in exchanges.items() if isinstance(exchanges, dict) else ():
        if name not in _collected() or not isinstance(section, dict | None):
            continue
        venue = venues.find(name)
        usual = venue.default_markets or [one for one, market in venue.markets.items() if market.symbols]
        default: dict[str, Any] = {"markets": {one: {} for one in usual}}
        filled = exchanges[name] = default | (section or {})
        markets = filled["markets"]
        for market_type, market in markets.items() if isinstance(markets, dict) else ():
            known = venue.markets.get(market_type)
            if known is not None and isinstance(market, dict | None):
                defaults = {"symbols": list(known.symbols), "data_types": list(known.data_types)}
                markets[market_type] = {key: value for key, value in defaults.items() if value} | (market or {})


def _problems(exchange: str, market_type: MarketType, wanted: Market) -> Iterator[tuple[Location, str]]:
    """What a market of a venue cannot do of what is wanted, each with the valid values."""
    venue, symbols, depth = venues.find(exchange), wanted.symbols, wanted.book_depth
    market, name = venue.markets.get(market_type), f"{venue.title} {market_type}"
    at = ("exchanges", exchange, "markets", market_type)
    if market is None:
        yield at, f"{name} cannot be collected: the venue has no such market; use {', '.join(venue.markets)}"
        return
    if not symbols:
        yield (*at, "symbols"), "is missing; add it"
    if wrong := [symbol for symbol in symbols if not re.fullmatch(venue.symbol_pattern, _plain(symbol))]:
        own = f", as {market.symbols[0]}" if market.symbols else ""
        cause = (
            f"{wrong[0]!r} is no symbol of {venue.title}; write the venue's own name{own}, or BASE-QUOTE, as BTC-USDT,"
            " or a pattern, as BTC-*"
        )
        yield (*at, "symbols"), cause
    for symbol in () if wanted.match_dollar_quotes else symbols:
        if right := _markets_of(venue, market_type, symbol):
            paths = " or ".join(f"exchanges.{exchange}.markets.{one}" for one in right)
            yield (*at, "symbols"), f"{symbol} is no instrument of {name}; move it to {paths}"
    if symbols and all(symbol.startswith(EXCLUDE) for symbol in symbols):
        yield (*at, "symbols"), f"has exclusions ({symbols[0]}) only; add what they are taken from, as '*'"
    if unknown := [one for one in wanted.data_types if one not in market.data_types]:
        yield (*at, "data_types"), f"{name} has no {', '.join(unknown)}; use {', '.join(market.data_types)}"
    intervals = wanted.kline_intervals if "kline" in wanted.data_types else []
    if others := [one for one in intervals if one not in market.intervals]:
        cause = f"{name} has no candles of {', '.join(others)}; use {', '.join(market.intervals)}"
        yield (*at, "kline_intervals"), cause
    if depth is not None and depth not in market.depths:
        valid = ", ".join(map(str, market.depths))
        cause = f"no books of {depth} levels; use {valid}" if valid else "one depth of books; omit book_depth"
        yield (*at, "book_depth"), f"{name} has {cause}"
    for key in ("ws_url", "base_url"):
        if (url := getattr(wanted, key)) and (cause := venue.why_not_at(url)):
            yield (*at, key), cause
    for choice, value in wanted.choices.items():
        if cause := _not_chosen(name, market, choice, value):
            yield (*at, choice), cause


def _markets_of(venue: VenueDescriptor, market_type: MarketType, symbol: str) -> list[MarketType]:
    """The other markets of a venue that a symbol is of, as far as names say it; none where it may be of this one.

    Ours without expiry may be of any market but that of options.
    """
    if is_pattern(symbol) or symbol.startswith(EXCLUDE):
        return []
    found: dict[MarketType, Instrument] = {}
    for market in venue.markets:
        with suppress(UnknownInstrument):
            one = venue.feed(None if venue.shared_socket else market, strict=False).instruments[symbol]
            found[one.market_type] = one
    others = [*found]
    if market_type in found:
        return []
    if market_type == "option" and not symbol.upper().endswith(("-C", "-P")):
        return others or [one for one in venue.markets if one != "option"]
    ours = (symbol.upper() in (one.symbol, one.symbol.replace("-", "")) for one in found.values())
    return [] if any(ours) else others


def _not_chosen(name: str, market: VenueMarket, choice: Choice, value: str) -> str:
    """Why a market's channel cannot be chosen; empty when it can."""
    values = market.choices.get(choice, {})
    usable = ", ".join(one for one, refusal in values.items() if not refusal)
    if not values:
        return f"{name} has no choice of it; omit it"
    if value not in values:
        return f"{name} has no {value}; use {usable}"
    return f"{name} cannot be collected with {value}: {values[value]}; use {usable}" if values[value] else ""


def _plain(symbol: str) -> str:
    """A name that a pattern or an exclusion could mean."""
    plain = re.sub(r"\[[^\]]+\]|[*?]", "A", symbol.removeprefix(EXCLUDE))
    return plain.replace("[", " ")  # one that is not closed

"""Configuration files of the earlier collector, MarketPrism's: what each of its keys is now, and the file converted.

What a file of this collector may have is the business of `config`.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from marketdata_assets.config_files import Location
from marketdata_assets.exchanges import venues

NOW: dict[str, Location] = {
    "clickhouse_direct_write": ("clickhouse", "direct_write"),
    "redis_cache": ("redis", "cache"),
    "http_host": ("http", "host"),
    "http_port": ("http", "port"),
    "log_level": ("log_level",),
    "reconnect_delay": ("connections", "backoff_seconds"),
    "snapshot_interval": ("connections", "snapshot_seconds"),
    "stream_name": ("jetstream", "stream"),
}
"""Where the value of a key is now."""

NONE = {
    "use_real_exchanges": "the venues are always the real ones",
    "enable_scheduler": "what has no stream is always polled, every connections.poll_seconds",
    "max_requests_per_minute": "the limits that each venue documents always apply; MARKETDATA_EXCHANGE_RESERVED leaves"
    " a share of them to other programs",
    "ping_interval": "sockets are kept open as each venue documents",
    "reconnect_attempts": "sockets are opened again without end",
    "depth_limit": "book_depth of a market, where its venue has a choice",
    "metrics_port": "metrics are on http.port",
    "api_key": "public data needs no key",
    "api_secret": "public data needs no key",
    "passphrase": "public data needs no key",
    "nats": "MARKETDATA_NATS_URL",
    "nats_url": "MARKETDATA_NATS_URL",
    "servers": "MARKETDATA_NATS_URL",
    "clickhouse_host": "MARKETDATA_CLICKHOUSE_URL, with the port of HTTP, 8123",
    "clickhouse_port": "MARKETDATA_CLICKHOUSE_URL, with the port of HTTP, 8123",
    "redis_host": "MARKETDATA_REDIS_URL",
    "redis_port": "MARKETDATA_REDIS_URL",
}
"""Keys without a counterpart in the file, and what is instead."""

OF_VENUE = ("market_type", "symbols", "data_types", "base_url", "ws_url", *NOW, *NONE)
SECTIONS = ("collector", "nats", "monitoring", "clickhouse", "redis")
MARKETS = {
    "spot": "spot",
    "perpetual": "linear",
    "swap": "linear",
    "futures": "linear",
    "future": "linear",
    "linear": "linear",
    "inverse": "inverse",
    "option": "option",
    "options": "option",
}
INVERSE = ("deribit",)  # whose perpetuals of BTC and ETH are inverse
TYPES = {
    "trades": "trade",
    "depth": "orderbook",
    "book": "orderbook",
    "order_book": "orderbook",
    "klines": "kline",
    "candle": "kline",
    "tickers": "ticker",
    "liquidations": "liquidation",
    "funding": "funding_rate",
}
DEFAULT_VENUES = ("binance", "okx", "deribit")


@dataclass
class Converted:
    """A file of this collector, and what of the earlier one has no counterpart or needs a person."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, location: Location, value: Any) -> None:
        section: Any = self.values
        for key in location[:-1]:
            section = section.setdefault(key, {})
        section[location[-1]] = value


def earlier_keys(data: dict[str, Any], known: Container[str]) -> Iterator[tuple[Location, str]]:
    """The keys of the earlier collector in a file that may be one, with what each is now."""
    for key, value in data.items():
        if key == "collector" and isinstance(value, dict):
            yield from (((key, name), _now(str(name))) for name in value)
        elif key not in known and (key in NOW or key in NONE):
            yield (key,), _now(key)
    exchanges = data.get("exchanges")
    for name, section in exchanges.items() if isinstance(exchanges, dict) else ():
        if isinstance(section, dict) and "markets" not in section:
            yield from ((("exchanges", name, key), _now(key)) for key in section if key in OF_VENUE)


def _now(key: str) -> str:
    if key in NOW:
        return f"a key of the earlier collector, now {'.'.join(map(str, NOW[key]))}"
    if key in NONE:
        return f"a key of the earlier collector without a counterpart: {NONE[key]}"
    if key in OF_VENUE:
        return "a key of the earlier collector, now below a market, as exchanges.binance.markets.spot"
    return "no key that is known of the earlier collector"


def convert(data: dict[str, Any]) -> Converted:
    """The file for this collector. Its values are as they were: whether they are valid says `config`."""
    made = Converted()
    for key, value in data.items():
        if key == "exchanges":
            continue
        inside = value.items() if key in SECTIONS and isinstance(value, dict) else ()
        for name, one in inside or ((key, value),):
            _take(made, (key, name) if inside else (key,), str(name), one)
    sections = list(_venue_sections(data.get("exchanges")))
    for name, section in sections:
        _venue(made, name, section)
    if not made.values.get("exchanges"):
        made.notes.append("exchanges: none that is known is named; those of the earlier collector are written")
        made.values["exchanges"] = {name: {} for name in DEFAULT_VENUES}
    return made


def _take(made: Converted, at: Location, key: str, value: Any) -> None:
    """Put a value to its new place, or note that there is none."""
    if len(at) == 2 and at[0] in ("clickhouse", "redis", "nats") and key in ("host", "port", "url", "servers"):
        key = "nats" if at[0] == "nats" else f"{at[0]}_host"
    if key in NOW:
        made.put(NOW[key], value.lower() if isinstance(value, str) and key == "log_level" else value)
    else:
        made.notes.append(f"{'.'.join(map(str, at))}: {_now(key)}")


def _venue_sections(exchanges: Any) -> Iterator[tuple[str, Any]]:
    """The venues by name, of a mapping, or of a list whose sections name them."""
    if isinstance(exchanges, dict) and not isinstance(exchanges.get("configs"), list):
        yield from exchanges.items()
        return
    listed = exchanges.get("configs") if isinstance(exchanges, dict) else exchanges
    for one in listed if isinstance(listed, list) else ():
        name = one.get("exchange", one.get("name", "")) if isinstance(one, dict) else one
        inside = one.items() if isinstance(one, dict) else ()
        yield str(name), {key: value for key, value in inside if key not in ("exchange", "name")}


def _venue(made: Converted, written: str, section: Any) -> None:
    """A section of one market, below its venue: `binance`, or `binance_spot`."""
    name, _, suffix = str(written).lower().partition("_")
    if name not in venues.names():
        made.notes.append(f"exchanges.{written}: no venue of this collector; there are {', '.join(venues.names())}")
        return
    values = dict(section) if isinstance(section, dict) else {}
    word = str(values.pop("market_type", suffix) or "").lower()
    market_type = MARKETS.get(word, "")
    if name in INVERSE and market_type == "linear":
        market_type = "inverse"
    if word and not market_type:
        made.notes.append(f"exchanges.{written}.market_type: {word!r} is no market; use spot, linear, inverse, option")
    venue = made.values.setdefault("exchanges", {}).setdefault(name, {})
    if "enabled" in values:
        venue["enabled"] = values.pop("enabled")
    market: dict[str, Any] = {}
    for key, value in values.items():
        if key == "data_types" and isinstance(value, list):
            market[key] = list(dict.fromkeys(TYPES.get(str(one), one) for one in value))
        elif key in ("symbols", "base_url", "ws_url"):
            market[key] = value
        else:
            _take(made, ("exchanges", written, key), key, value)
    if market_type or market:
        usual = next(iter(venues.find(name).default_markets or venues.find(name).markets))
        venue.setdefault("markets", {})[market_type or usual] = market

"""Configuration files of the earlier collector, MarketPrism's: what each of its keys is now, and the file converted."""

from collections.abc import Container, Iterable, Iterator
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

_INSTEAD = {
    "the venues are always the real ones": ("use_real_exchanges",),
    "what has no stream is always polled, every connections.poll_seconds": ("enable_scheduler",),
    "limits are as each venue documents; MARKETDATA_EXCHANGE_RESERVED leaves a share": ("max_requests_per_minute",),
    "sockets are kept open, and opened again, as each venue documents": ("ping_interval", "reconnect_attempts"),
    "book_depth of a market, where its venue has a choice": ("depth_limit",),
    "metrics are on http.port": ("metrics_port",),
    "public data needs no key": ("api_key", "api_secret", "passphrase"),
    "MARKETDATA_NATS_URL": ("nats", "nats_url"),
    "MARKETDATA_CLICKHOUSE_URL, with the port of HTTP, 8123": ("clickhouse_host", "clickhouse_port"),
    "MARKETDATA_REDIS_URL": ("redis_host", "redis_port"),
}
NONE = {key: instead for instead, keys in _INSTEAD.items() for key in keys}
"""Keys without a counterpart in the file, and what is instead."""

OF_MARKET = ("symbols", "data_types", "base_url", "ws_url")
SECTIONS = ("collector", "nats", "clickhouse", "redis")
PLACE_KEYS = ("host", "port", "url", "servers")  # below the sections of servers
DERIVATIVES = ("perpetual", "swap", "futures", "future")  # of the market that a venue has of them first
MARKETS = {**{one: one for one in ("spot", "linear", "inverse", "option")}, "options": "option"}
TYPES = {"depth": "orderbook", "book": "orderbook", "order_book": "orderbook", "candle": "kline"}


@dataclass
class Converted:
    """A file of this collector, and notes on what of the earlier one has no counterpart or needs a person."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, at: Location, key: str, value: Any) -> None:
        """Put a value to its new place, or note that there is none."""
        if key not in NOW:
            self.notes.append(f"{'.'.join(map(str, at))}: {_now(key)}")
            return
        section: Any = self.values
        for name in NOW[key][:-1]:
            section = section.setdefault(name, {})
        section[NOW[key][-1]] = value.lower() if key == "log_level" and isinstance(value, str) else value


def earlier_keys(data: dict[str, Any], known: Container[str]) -> Iterator[tuple[Location, str]]:
    """The keys of the earlier collector in a file that may be one, with what each is now."""
    for key, value in data.items():
        if key == "collector" and isinstance(value, dict):
            yield from (((key, name), _now(str(name))) for name in value)
        elif key not in known and (key in NOW or key in NONE):
            yield (key,), _now(key)
    exchanges = data.get("exchanges")
    for name, section in exchanges.items() if isinstance(exchanges, dict) else ():
        for key in section if isinstance(section, dict) and "markets" not in section else ():
            if key in (*OF_MARKET, "market_type") or key in NOW or key in NONE:
                yield ("exchanges", name, key), _now(key)


def _now(key: str) -> str:
    if key in NOW:
        return f"a key of the earlier collector, now {'.'.join(map(str, NOW[key]))}"
    if key in NONE:
        return f"a key of the earlier collector without a counterpart: {NONE[key]}"
    if key in (*OF_MARKET, "market_type"):
        return "a key of the earlier collector, now below one of the markets of its venue, exchanges.<name>.markets"
    return "no key that is known of the earlier collector"


def convert(data: dict[str, Any], usual: Iterable[str]) -> Converted:
    """The file for this collector, of the `usual` venues where it names none.

    Its values are as they were: whether they are valid says `config`.
    """
    made = Converted()
    for key, value in data.items():
        if key in SECTIONS and isinstance(value, dict):
            for name, one in value.items():
                server = key != "collector" and name in PLACE_KEYS
                made.take((key, name), key if server and key == "nats" else f"{key}_host" if server else name, one)
        elif key != "exchanges":
            made.take((key,), str(key), value)
    for name, section in _sections(data.get("exchanges")):
        _add_market(made, name, section)
    if not made.values.get("exchanges"):
        made.notes.append("exchanges: none that is known is named; the usual ones are written")
        made.values["exchanges"] = {name: {} for name in usual}
    return made


def _sections(exchanges: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The venues by name, of a mapping, or of a list whose sections name them."""
    listed = exchanges.get("configs", exchanges) if isinstance(exchanges, dict) else exchanges
    for one in listed if isinstance(listed, list) else ():
        section = dict(one) if isinstance(one, dict) else {"exchange": one}
        yield str(section.pop("exchange", "")), section
    for name, section in listed.items() if isinstance(listed, dict) else ():
        yield str(name), dict(section) if isinstance(section, dict) else {}


def _add_market(made: Converted, written: str, section: dict[str, Any]) -> None:
    """Add a section of one market to its venue; its name is that of the venue, or has the market too: `x_spot`."""
    name, _, suffix = written.lower().partition("_")
    if name not in venues.names():
        made.notes.append(f"exchanges.{written}: no venue of this collector; there are {', '.join(venues.names())}")
        return
    known, word = venues.find(name), str(section.pop("market_type", suffix) or "").lower()
    have = [*known.default_markets, *(one for one, market in known.markets.items() if market.symbols)]
    market_type = MARKETS.get(word) or next((one for one in have if word not in DERIVATIVES or one != "spot"), have[0])
    if word and word not in (*MARKETS, *DERIVATIVES):
        made.notes.append(f"exchanges.{written}.market_type: {word!r} is no market; use spot, linear, inverse, option")
    venue = made.values.setdefault("exchanges", {}).setdefault(name, {})
    venue |= {"enabled": section.pop("enabled")} if "enabled" in section else {}
    market = {key: section.pop(key) for key in OF_MARKET if key in section}
    if isinstance(types := market.get("data_types"), list):
        singular = [str(one).removesuffix("s") for one in types]
        market["data_types"] = list(dict.fromkeys(TYPES.get(one, one) for one in singular))
    for key, value in section.items():
        made.take(("exchanges", written, key), key, value)
    if market or word:
        venue.setdefault("markets", {})[market_type] = market

"""Configuration files of the earlier collector, MarketPrism's: what each of its keys is now, and the file converted."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlsplit

from marketdata_assets.config_files import Location
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import UnknownInstrument
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.venue import Venue
from marketdata_assets.exchanges.venue_adapter import Choice

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

TEXTS, URLS = ("symbols", "data_types"), ("base_url", "ws_url")
OTHERS = ("kline_intervals", "match_dollar_quotes", "max_instruments", "book_depth", *get_args(Choice))
OF_MARKET = (*TEXTS, *URLS, *OTHERS)
SECTIONS = ("collector", "nats", "clickhouse", "redis")
PLACE_KEYS = ("host", "port", "url", "servers")  # below the sections of servers
TESTNET = ("testnet", "sandbox", "use_testnet", "demo")
SWITCHES = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}
DERIVATIVES = ("perpetual", "perpetuals", "perp", "swap", "swaps", "futures", "future", "derivatives", "usdm", "coinm")
"""Words for the first market of a venue that is not spot."""
MARKETS = {**{one: one for one in ("spot", "linear", "inverse", "option")}, "options": "option"}
TYPES = {**dict.fromkeys(("depth", "book", "order_book"), "orderbook"), "candle": "kline", "funding": "funding_rate"}


@dataclass
class Converted:
    """A file of this collector, and notes on what of the earlier one has no counterpart or needs a person."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, at: Location, key: str, value: Any) -> None:
        """Put a value to its new place, or note that there is none."""
        if key in NOW:
            self.put(at, NOW[key], value.lower() if key == "log_level" and isinstance(value, str) else value)
        else:
            self.notes.append(f"{'.'.join(map(str, at))}: {_now(key)}")

    def put(self, at: Location, place: Location, value: Any) -> None:
        """Put a value there, or note that another one is there."""
        section: Any = self.values
        for name in place[:-1]:
            section = section.setdefault(name, {})
        if (kept := section.setdefault(place[-1], value)) != value:
            self.notes.append(f"{'.'.join(map(str, at))}: {value!r}, and elsewhere {kept!r}, which is taken")


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


def convert(data: dict[str, Any], usual: Iterable[str], current: Mapping[str, Container[str]]) -> Converted:
    """The file for this collector, of the `usual` venues where it names none.

    Its values are as they were: whether they are valid says `config`. What has a key of this collector already, by
    section in `current`, is kept.
    """
    made = Converted()
    for key, value in data.items():
        if isinstance(value, dict) and key != "exchanges" and key in (*SECTIONS, *current):
            for name, one in value.items():
                server = key != "collector" and name in PLACE_KEYS
                if name in current.get(key, ()):
                    made.put((key, name), (key, name), one)
                elif (key, name) != ("collector", "exchanges"):
                    made.take((key, name), key if server and key == "nats" else f"{key}_host" if server else name, one)
        elif key in current and key not in (*NOW, "exchanges"):
            made.put((key,), (key,), value)
        elif key not in ("exchanges", *TESTNET):
            made.take((key,), str(key), value)
    below = data["collector"] if isinstance(data.get("collector"), dict) else {}
    shared = {key: data[key] for key in TESTNET if key in data}
    exchanges = data.get("exchanges", below.get("exchanges"))
    sections = [(name, {**shared, **section}) for name, section in _sections(exchanges)]
    on = {_exchange_of(name, section) for name, section in sections if section.get("enabled") is not False}
    for name, section in sections:
        _add_section(made, name, section, on)
    if not made.values.get("exchanges"):
        made.notes.append("exchanges: none that is known is named; the usual ones are written")
        made.values["exchanges"] = {name: {} for name in usual}
    made.notes = list(dict.fromkeys(made.notes))
    return made


def _sections(exchanges: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The venues by name, of a mapping, or of a list whose sections name them.

    Of a name of its own, as `main`, or of another venue, that of its `exchange` counts.
    """
    listed = exchanges.get("configs", exchanges) if isinstance(exchanges, dict) else exchanges
    for one in listed if isinstance(listed, list) else ():
        section = one if isinstance(one, dict) else {"exchange": one}
        named = section.keys() & {"exchange", "name"}
        yield from _sections({str(section.get("name", section.get("exchange"))): section} if named else section)
    for written, found in listed.items() if isinstance(listed, dict) else ():
        section = _section(found)
        name, exchange = str(section.pop("name", written)), str(section.pop("exchange", written))
        yield from _by_type(name if _split(name)[0] == _split(exchange)[0] else exchange, section)


def _section(found: Any) -> dict[str, Any]:
    """A section as a mapping, of one that may be symbols alone, or a switch."""
    key = "symbols" if isinstance(found, list) else "enabled"
    section = dict(found) if isinstance(found, dict) else {} if found is None else {key: found}
    if "enabled" in section:
        section["enabled"] = SWITCHES.get(str(section["enabled"]).lower(), section["enabled"])
    return section


def _by_type(name: str, section: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A section for each market of one that lists several, or has a section of each."""
    if isinstance(markets := section.get("markets"), dict):
        section = {key: value for key, value in section.items() if key != "markets"} | markets
    own = {key: _section(value) for key, value in section.items() if key in (*MARKETS, *DERIVATIVES)}
    shared = {key: value for key, value in section.items() if key not in own}
    off = {"enabled": False} if shared.get("enabled") is False else {}
    for key, market in own.items():
        yield name, {**shared, **market, "market_type": key, **off}
    words = section.get("market_type")
    for word in words if isinstance(words, list) and words else [words] if not own else ():
        yield name, {**shared, "market_type": word} if word else shared


def _split(written: str) -> tuple[str, list[str]]:
    """The venue of a section, and the other words of its name, which are of its market: `x_spot`."""
    name = written.lower()
    first, *words = [name] if name in venues.names() else re.split("[^a-z0-9]+", name)
    return first, words


def _exchange_of(written: str, section: dict[str, Any]) -> str:
    """The exchange of a section, which is another one for the testnet of its venue."""
    venue, words = _split(written)
    apart = any(SWITCHES.get(str(section.get(key, key in words)).lower()) for key in TESTNET)
    return f"{venue}-testnet" if apart else venue


def _add_section(made: Converted, written: str, section: dict[str, Any], on: Container[str]) -> None:
    """Add what a section collects to the markets of its venue; `on` are the venues with a section that is enabled."""
    name, words = _split(written)
    if name not in venues.names():
        made.notes.append(f"exchanges.{written}: no venue of this collector; there are {', '.join(venues.names())}")
        return
    name = _exchange_of(written, section)
    for key in TESTNET:
        section.pop(key, None)
    suffix = "_".join(one for one in words if one not in TESTNET)
    enabled, word = section.pop("enabled", None), str(section.pop("market_type", suffix) or "").lower()
    if enabled is False and name in on:
        made.notes.append(f"exchanges.{written}: disabled, so {word or 'it'} is left out; others of {name} are enabled")
        return
    venue = made.values.setdefault("exchanges", {}).setdefault(name, {})
    venue |= {} if enabled is None else {"enabled": enabled}
    if isinstance(section.get("proxy", {}), str | None):
        venue["proxy"] = section.pop("proxy")
    market = {key: section.pop(key) for key in OF_MARKET if key in section}
    for key in TEXTS:
        if isinstance(texts := market.get(key), str):
            market[key] = texts.replace(",", " ").split()
    for key in URLS:
        url = urlsplit(str(market.get(key) or ""))
        if url.path.strip("/"):
            market[key] = f"{url.scheme}://{url.netloc}"
            made.notes.append(f"exchanges.{written}.{key}: {market[key]} is taken, with paths as the venue documents")
    if isinstance(types := market.get("data_types"), list):
        singular = [str(one).lower().removesuffix("s") for one in types]
        market["data_types"] = list(dict.fromkeys(TYPES.get(one, one) for one in singular))
    for key, value in section.items():
        made.take(("exchanges", written, key), key, value)
    for market_type, symbols in _by_market(made, written, word, market.pop("symbols", None)).items():
        own = {**({} if symbols is None else {"symbols": symbols}), **market}
        markets = venue.setdefault("markets", {}) if own or word else {}
        if market_type in markets:
            _unite(made, f"exchanges.{name}.markets.{market_type}", markets[market_type], own)
        else:
            markets[market_type] = own


def _by_market(made: Converted, written: str, word: str, symbols: Any) -> dict[str, Any]:
    """The symbols of a section by market: the one that `word` names, else that of their names, else the usual one."""
    known, words = venues.find(_split(written)[0]), word.split("_")
    named, derivative = [MARKETS[one] for one in words if one in MARKETS], any(one in DERIVATIVES for one in words)
    if word and not named and not derivative:
        made.notes.append(f"exchanges.{written}.market_type: {word!r} is no market; use spot, linear, inverse, option")
    have = [*known.default_markets, *(one for one, market in known.markets.items() if market.symbols)]
    usual = [*named, *(one for one in have if one != "spot" or not derivative), *have][0]
    if not isinstance(symbols, list) or not symbols:
        return {usual: symbols}
    found, unclear = dict[str, Any](), list[str]()
    for symbol in map(str, symbols):
        may_be = _markets_of(known, symbol) - ({"spot"} if derivative else set())
        if named and len(may_be) == 1 and may_be.isdisjoint((usual, "spot")):  # a name may be BASE-QUOTE
            others = f"{symbol} is of {', '.join(may_be)}, which is taken, not of {word}"
            made.notes.append(f"exchanges.{written}.symbols: {others}")
        elif named:
            may_be = set[Any]((usual,))
        if len(may_be) != 1:
            unclear.append(symbol)
        found.setdefault(may_be.pop() if len(may_be) == 1 else usual, []).append(symbol)
    if unclear:
        about = f"exchanges.{written}.symbols: of {', '.join(unclear)} the name alone does not say the market"
        made.notes.append(f"{about}; {usual} is taken")
    return found


def _markets_of(venue: Venue, name: str) -> set[MarketType]:
    """The markets that may have an instrument of this name."""
    found = set[MarketType]()
    for market_type in venue.markets:
        with suppress(UnknownInstrument):
            found.add(venue.feed(market_type, strict=False).instruments[name].market_type)
    return found & venue.markets.keys()


def _unite(made: Converted, at: str, market: dict[str, Any], more: dict[str, Any]) -> None:
    """Add what another section of the same market has; what cannot be said of a part of its symbols is noted."""
    for key in OF_MARKET:
        one, other = market.get(key), more.get(key)
        if one == other:
            continue
        if key == "data_types" and None in (one, other):
            made.notes.append(f"{at}.data_types: only one of its sections has some; all types of all symbols are taken")
            market.pop(key, None)
        elif isinstance(one, list) and isinstance(other, list):
            market[key] = list(dict.fromkeys([*one, *other]))
            if key == "data_types":
                made.notes.append(f"{at}.data_types: its sections differ; all of them are taken for all symbols")
        else:
            market[key] = other if one is None else one
            made.notes.append(f"{at}.{key}: its sections have {one!r} and {other!r}; {market[key]!r} is taken")

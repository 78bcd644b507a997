"""What the descriptors of venues say about the section `exchanges`: defaults of omitted keys, and what is impossible.

The shape of the section is in `config`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marketdata_assets.collector.symbols import EXCLUDE
from marketdata_assets.config_files import Location
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.venue import VenueMarket
from marketdata_assets.exchanges.venue_adapter import Choice

AT = ("exchanges",)


def default_section(exchange: str) -> dict[str, Any]:
    """The section of a venue that the file does not have: its usual markets, with all their defaults."""
    venue = venues.find(exchange)
    usual = venue.default_markets or [name for name, market in venue.markets.items() if market.symbols]
    return {"markets": {name: {} for name in usual}}


def complete(exchanges: Any) -> None:
    """Add the venues' defaults to what the file omits: markets, symbols and data types. Nothing is validated."""
    for name, section in exchanges.items() if isinstance(exchanges, dict) else ():
        if name not in venues.names() or not isinstance(section, dict | None):
            continue
        filled = exchanges[name] = default_section(name) | (section or {})
        markets = filled["markets"]
        for market_type, market in markets.items() if isinstance(markets, dict) else ():
            known = venues.find(name).markets.get(market_type)
            if known is not None and isinstance(market, dict | None):
                defaults = {"symbols": list(known.symbols), "data_types": list(known.data_types)}
                markets[market_type] = {key: value for key, value in defaults.items() if value} | (market or {})


def problems(
    exchange: str,
    market_type: MarketType,
    symbols: Sequence[str],
    data_types: Sequence[str],
    intervals: Sequence[str],
    depth: int | None,
    choices: Mapping[Choice, str],
) -> Iterator[tuple[Location, str]]:
    """What a market of a venue cannot do of what is wanted, each with the valid values."""
    venue = venues.find(exchange)
    market, name = venue.markets.get(market_type), f"{venue.title} {market_type}"
    at = (*AT, exchange, "markets", market_type)
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
    if symbols and all(symbol.startswith(EXCLUDE) for symbol in symbols):
        yield (*at, "symbols"), f"has exclusions ({symbols[0]}) only; add what they are taken from, as '*'"
    if unknown := [one for one in data_types if one not in market.data_types]:
        yield (*at, "data_types"), f"{name} has no {', '.join(unknown)}; use {', '.join(market.data_types)}"
    if "kline" in data_types and (unknown := [one for one in intervals if one not in market.intervals]):
        cause = f"{name} has no candles of {', '.join(unknown)}; use {', '.join(market.intervals)}"
        yield (*at, "kline_intervals"), cause
    if depth is not None and depth not in market.depths:
        valid = ", ".join(map(str, market.depths))
        cause = f"no books of {depth} levels; use {valid}" if valid else "one depth of books; omit book_depth"
        yield (*at, "book_depth"), f"{name} has {cause}"
    for choice, value in choices.items():
        if cause := _not_chosen(name, market, choice, value):
            yield (*at, choice), cause


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

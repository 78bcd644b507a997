"""Which instruments of a venue's list the configured symbols name, and why a symbol names none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import MarketType

DOLLARS = ("USDT", "USDC", "USD")
"""Quote currencies that count as one where a symbol is meant for several markets."""

MOST_HINTS = 5
"""For so many unknown symbols the nearest names are searched, which takes some milliseconds each."""


@dataclass(frozen=True)
class Resolved:
    """The instruments of symbols, once each, and by symbol why no instrument was found."""

    instruments: list[Instrument]
    problems: dict[str, str]


def resolve_symbols(
    listed: Mapping[str, Instrument],
    market_type: MarketType,
    symbols: Iterable[str],
    *,
    match_dollar_quotes: bool = False,
) -> Resolved:
    """The listed instruments with these symbols.

    A symbol is the venue's name (BTC-USDT-SWAP), ours (BTC-USDT), or ours without dashes (BTCUSDT), in any case. With
    `match_dollar_quotes`, a pair that is not listed matches the one with another quote of DOLLARS, as BTC-USD for
    BTC-USDT.
    """
    candidates = [candidate for candidate in listed.values() if candidate.market_type == market_type]
    exact, folded = _by_spelling(candidates)
    resolved: dict[str, Instrument] = {}
    problems: dict[str, str] = {}
    for symbol in symbols:
        spellings = [symbol, *(_with_other_dollars(symbol) if match_dollar_quotes else ())]
        found = next(filter(None, (exact.get(one) or folded.get(one.upper()) for one in spellings)), [])
        traded = [instrument for instrument in found if not instrument.ended]
        if len(traded) == 1:
            resolved[traded[0].name] = traded[0]
        else:
            problems[symbol] = _problem(symbol, traded or found, candidates, len(problems) < MOST_HINTS)
    return Resolved(list(resolved.values()), problems)


def _by_spelling(candidates: list[Instrument]) -> tuple[dict[str, list[Instrument]], dict[str, list[Instrument]]]:
    """The instruments by each of their spellings: as they are, and in upper case. A venue's name goes first."""
    by_symbol: dict[str, list[Instrument]] = {}
    for one in candidates:
        for spelling in {one.symbol, one.symbol.replace("-", "")}:
            by_symbol.setdefault(spelling, []).append(one)
    exact = by_symbol | {one.name: [one] for one in candidates}
    return exact, {spelling.upper(): found for spelling, found in exact.items()}


def _with_other_dollars(symbol: str) -> list[str]:
    text = symbol.upper().replace("-", "")
    for quote in DOLLARS:
        if text.endswith(quote) and text != quote:
            return [text.removesuffix(quote) + other for other in DOLLARS if other != quote]
    return []


def _problem(symbol: str, found: list[Instrument], candidates: list[Instrument], hint: bool) -> str:
    if len(found) > 1:
        return f"is ambiguous: {', '.join(one.name for one in found)}; give the venue's own name"
    if found:
        return f"is listed, but not traded any more ({found[0].ended})"
    names = [one.name for one in candidates if not one.ended] if hint else []
    near = get_close_matches(symbol.upper(), names, 3)
    return f"is not listed; nearest: {', '.join(near)}" if near else "is not listed"

"""Which instruments of a venue's list the configured symbols and patterns name, and why one names none."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import translate

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import MarketType

DOLLARS = ("USDT", "USDC", "USD")
"""Quote currencies that count as one where a symbol is meant for several markets."""

MOST_HINTS = 5
"""For so many unknown symbols the nearest names are searched, which takes some milliseconds each."""


EXCLUDE = "!"
"""What a symbol or pattern begins with whose instruments are not wanted."""


@dataclass(frozen=True)
class Resolved:
    """The instruments of symbols, once each.

    `problems` says by symbol why no instrument was found, `rejected` why the instruments of patterns are not taken, and
    `matched` has the instruments of each pattern, by the venue's names.
    """

    instruments: list[Instrument]
    problems: dict[str, str]
    matched: dict[str, list[str]] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)


def is_pattern(symbol: str) -> bool:
    """Whether a symbol names any number of instruments: BTC-*, BTC-2?DEC*, [BE]T[CH]-PERPETUAL."""
    return any(sign in symbol for sign in "*?[")


def resolve_symbols(
    listed: Mapping[str, Instrument],
    market_type: MarketType,
    symbols: Iterable[str],
    *,
    match_dollar_quotes: bool = False,
    most: int | None = None,
) -> Resolved:
    """The listed instruments with these symbols.

    A symbol is the venue's name (BTC-USDT-SWAP), ours (BTC-USDT), or ours without dashes (BTCUSDT), in any case. A
    pattern matches the whole of the venue's or our name, by the rules of fnmatch, in any case; patterns that match
    more than `most` instruments together are rejected. What begins with EXCLUDE is taken out of all others. With
    `match_dollar_quotes`, a pair that is not listed matches the one with another quote of DOLLARS, as BTC-USD for
    BTC-USDT.
    """
    given = list(dict.fromkeys(symbols))
    candidates = [candidate for candidate in listed.values() if candidate.market_type == market_type]
    exact, folded = _by_spelling(candidates)
    excluded = _excluded(given, candidates, folded)
    resolved: dict[str, Instrument] = {}
    problems: dict[str, str] = {}
    patterns: dict[str, list[Instrument]] = {}
    for symbol in given:
        if symbol.startswith(EXCLUDE):
            continue
        if is_pattern(symbol):
            found = [one for one in _matching(symbol, candidates) if not one.ended and one.name not in excluded]
            patterns[symbol] = found
            if not found:
                problems[symbol] = "matches no instrument of the list"
            continue
        spellings = [symbol, *(_with_other_dollars(symbol) if match_dollar_quotes else ())]
        found = next(filter(None, (exact.get(one) or folded.get(one.upper()) for one in spellings)), [])
        traded = [instrument for instrument in found if not instrument.ended]
        if len(traded) != 1:
            problems[symbol] = _problem(symbol, traded or found, candidates, len(problems) < MOST_HINTS)
        elif traded[0].name not in excluded:
            resolved[traded[0].name] = traded[0]
    matched = {pattern: [one.name for one in found] for pattern, found in patterns.items()}
    every = {one.name: one for found in patterns.values() for one in found}
    if most is not None and len(every) > most:
        cause = (
            f"match {len(every):,} instruments, more than max_instruments ({most:,}), and none is collected:"
            " narrow the patterns, exclude some with '!PATTERN', or raise max_instruments"
        )
        return Resolved(list(resolved.values()), problems, matched, {", ".join(patterns): cause})
    return Resolved(list((resolved | every).values()), problems, matched)


def _excluded(symbols: list[str], candidates: list[Instrument], folded: dict[str, list[Instrument]]) -> set[str]:
    names: set[str] = set()
    for symbol in (one.removeprefix(EXCLUDE) for one in symbols if one.startswith(EXCLUDE)):
        found = _matching(symbol, candidates) if is_pattern(symbol) else folded.get(symbol.upper(), [])
        names.update(one.name for one in found)
    return names


def _matching(pattern: str, candidates: list[Instrument]) -> list[Instrument]:
    matches = re.compile(translate(pattern), re.IGNORECASE).match
    return [one for one in candidates if matches(one.name) or matches(one.symbol)]


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

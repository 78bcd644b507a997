"""Which instruments a market follows: those of its symbols and patterns that the venue lists, from list to list, and of
these the ones of its shard.

Subscribing and unsubscribing is the business of `market`.
"""

import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Self

from marketdata_assets.collector.connections.state import Change, InstrumentChange
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.symbols import EXCLUDE, Resolved, resolve_symbols
from marketdata_assets.exchanges.instruments import Instrument, Instruments, Missing
from marketdata_assets.exchanges.records import MarketType

CHANGES = 50
"""So many of the last changes are in the status."""


SHARD_FORM = "expected i/n with 1 <= i <= n, such as 1/2."


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count`: each instrument belongs to exactly one part."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise CollectorError(f"shard '{self.index}/{self.count}': {SHARD_FORM}")

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse `i/n`; raises CollectorError."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if match is None:
            raise CollectorError(f"shard {text!r}: {SHARD_FORM}")
        return cls(int(match[1]), int(match[2]))

    def takes(self, exchange: str, instrument: str) -> bool:
        """Whether an instrument belongs to this part; the same in every process and version."""
        digest = blake2b(f"{exchange}:{instrument}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index - 1


@dataclass
class Selection:
    """The symbols of one market, and what they come to with the venue's latest list."""

    market_type: MarketType
    symbols: list[str]
    match_dollar_quotes: bool = False
    most: int | None = None  # instruments of all patterns together
    unknown: dict[str, str] = field(default_factory=dict)  # symbols that are not traded, with the reason
    absent: dict[str, str] = field(default_factory=dict)  # symbols for several markets that this one does not have
    matched: dict[str, int] = field(default_factory=dict)  # instruments of each pattern
    changes: deque[InstrumentChange] = field(default_factory=lambda: deque(maxlen=CHANGES))
    counts: Counter[Change] = field(default_factory=Counter)
    _dropped: dict[str, int] = field(default_factory=dict)  # instruments that were delisted, and when (ns)
    _missing: Missing = field(default_factory=Missing)  # of the followed instruments

    def wanted(self, instruments: Instruments) -> list[Instrument]:
        """The instruments of all symbols; the symbols without one are remembered with the reason."""
        resolved = self.resolve(instruments, self.symbols, match_dollar_quotes=self.match_dollar_quotes)
        self.matched = {pattern: len(names) for pattern, names in resolved.matched.items()}
        self.unknown, self.absent = resolved.rejected, {}
        (self.absent if self.match_dollar_quotes else self.unknown).update(resolved.problems)
        return resolved.instruments

    def resolve(
        self, instruments: Instruments, symbols: Sequence[str], *, match_dollar_quotes: bool = False
    ) -> Resolved:
        """The instruments of any symbols in the latest list."""
        known = instruments.known
        listed = {name: known[name] for name in known if name in instruments.listed}
        options = {"match_dollar_quotes": match_dollar_quotes}
        return resolve_symbols(listed, self.market_type, symbols, **options, most=self.most)

    def add(self, symbols: Iterable[str]) -> None:
        """Want these symbols too, from now on."""
        for symbol in symbols:
            self.symbols = [one for one in self.symbols if one not in (symbol, EXCLUDE + symbol)] + [symbol]

    def exclude(self, names: Iterable[str]) -> None:
        """Do not want these any more: symbols, patterns, or instruments that a pattern matches."""
        for name in names:
            self.symbols = [one for one in self.symbols if one not in (name, EXCLUDE + name)] + [EXCLUDE + name]

    def delisted(self, instruments: Instruments, followed: Iterable[str]) -> list[str]:
        """The followed instruments that neither the latest list has nor the one before it: one may be incomplete."""
        return self._missing.again(instruments, followed)

    def note(self, kind: Change, names: Sequence[str]) -> None:
        """Remember a change of what is followed."""
        now = time.time_ns()
        self.counts[kind] += len(names)
        self.changes.extend(InstrumentChange(now, name, kind) for name in names)
        if kind == "delisted":
            self._dropped.update(dict.fromkeys(names, now))

    def dropped_at(self, name: str) -> int | None:
        """When an instrument that is followed again was delisted; ns."""
        return self._dropped.pop(name, None)

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

from msgspec import structs

from marketdata_assets.collector.connections.state import Change, InstrumentChange
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.symbols import EXCLUDE, Resolved, resolve_symbols
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import InstrumentState, MarketType, State

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
class Missing:
    """The names that a market's list lacks, from list to list."""

    _names: set[str] = field(default_factory=set)

    def again(self, instruments: Instruments, names: Iterable[str]) -> list[str]:
        """Those of these names that the latest list lacks and the one before lacked; of one that is not whole, none."""
        missing = set(names) - instruments.listed
        if not instruments.whole:
            self._names &= missing
            return []
        gone, self._names = missing & self._names, missing
        return sorted(gone)


@dataclass
class ListedStates:
    """The states of the instruments of one market, from list to list."""

    market_type: MarketType
    last: dict[str, InstrumentState] = field(default_factory=dict)  # by the venue's name
    changed_at: int = 0  # ns
    _missing: Missing = field(default_factory=Missing)

    def changes(self, instruments: Instruments, ts_recv: int) -> list[InstrumentState]:
        """What differs in the latest list; one that neither it nor the list before has is delisted."""
        latest = (instruments.known[name] for name in sorted(instruments.listed))
        own = (one for one in latest if one.market_type == self.market_type and one.state)
        listed = {one.name: one.state_record(ts_recv) for one in own}
        changed = [one for name, one in listed.items() if _state(one) != _state(self.last.get(name))]
        gone = [self.last.pop(name) for name in self._missing.again(instruments, self.last)]
        ended = {"state": "delisted", "venue_state": "", "ts_recv": ts_recv}
        changed += [structs.replace(one, **ended) for one in gone if one.state != "delisted"]
        self.last |= listed
        self.changed_at = ts_recv if changed or gone else self.changed_at
        return changed


def _state(one: InstrumentState | None) -> tuple[State, str] | None:
    return (one.state, one.venue_state) if one else None


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

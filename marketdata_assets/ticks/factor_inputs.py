"""What the factors of a symbol-month were made from, in a line that the ledger keeps: equal inputs, equal factors.

    5f0c41...e2 tushare:2026-10-30 yahoo:failed

First a digest of the definitions and of the bars that stand, then for each provider the day up to which it was asked.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks.factor_sql import DEFINITIONS
from marketdata_assets.ticks.records import Days

FAILED = "failed"
PENDING = "?"


@dataclass(frozen=True)
class Inputs:
    """`bars` is a digest; `answered` are providers and the last day of the month they were asked for, or FAILED."""

    bars: str
    answered: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.bars, *(f"{name}:{self.answered[name]}" for name in sorted(self.answered))])

    @classmethod
    def of(cls, load: Load | None) -> "Inputs":
        """Those of the last attempt; without one, or when its rows are in doubt, nothing is known."""
        if load is None or load.pending or not load.attempted_hash:
            return cls(PENDING)
        bars, *answered = load.attempted_hash.split()
        pairs = (one.rpartition(":") for one in answered)
        return cls(bars, {name: until for name, _, until in pairs})

    def missing(self, providers: Iterable[str], until: str) -> set[str]:
        """Those of `providers` that have not answered up to the day `until`."""
        return {name for name in providers if self.answered.get(name, FAILED) == FAILED or self.answered[name] < until}


def months_of(month: str) -> tuple[str, str]:
    """A month and the one before it, whose last days its first ones look back to."""
    return month, f"{Days.month(month).first - dt.timedelta(days=1):%Y-%m}"


def bars_digest(loads: Iterable[Load | None]) -> str:
    """A digest of what stands in tick_data of the months at hand; PENDING when the ledger does not know."""
    return digest_of((load.content_hash, ",".join(load.slices)) if load else None for load in loads)


def digest_of(stands: Iterable[tuple[str | None, str] | None]) -> str:
    """The same of content hashes and covered days, as the ledger's table has them; None is a month that has none."""
    found = blake2b(DEFINITIONS.encode(), digest_size=16)
    for one in stands:
        content, days = one or (None, "")
        if content == "":
            return PENDING
        found.update(f"|{content or ''}|{days}".encode())
    return found.hexdigest()

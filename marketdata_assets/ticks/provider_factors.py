"""Factors that providers send: daily figures and adjustment factors, splits and dividends, in the form of the table.

Which of them land, and what becomes of those that stand already, is decided in `factors`.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import polars as pl

from marketdata_assets.errors import MarketDataError
from marketdata_assets.ticks.errors import NoPermission, NoToken, ProviderAway, QuotaSpent, TokenRefused, UnknownSymbol
from marketdata_assets.ticks.factor_sql import long
from marketdata_assets.ticks.fallback import Provider
from marketdata_assets.ticks.records import DAILY_FIELDS, Days
from marketdata_assets.ticks.tables import FACTORS

IN_A_ROW = 3
"""After so many requests without an answer a provider is not asked any more in this run."""

_OF_THE_ACCOUNT = (TokenRefused, NoToken, NoPermission, QuotaSpent)


@runtime_checkable
class Daily(Protocol):
    """A provider of figures by day: of one symbol with one request, of all with one request a day."""

    async def daily(self, days: Days, symbol: str | None = None) -> pl.DataFrame: ...

    async def adjustments(self, days: Days, symbol: str | None = None) -> pl.DataFrame: ...


@runtime_checkable
class Actions(Protocol):
    """A provider of splits and dividends, a request a symbol however many days."""

    async def actions(self, symbol: str, days: Days) -> pl.DataFrame: ...


@dataclass(frozen=True)
class ProviderFactors:
    """What one provider sent. `asked` are the symbols it was asked for, `failed` those of which it did not send all."""

    provider: str
    rows: pl.DataFrame
    asked: frozenset[str]
    failed: Mapping[str, str]
    unknown: frozenset[str] = frozenset()
    """Symbols that it says it does not have."""

    def within(self, days: Days, symbols: Iterable[str]) -> "ProviderFactors":
        """The part of it that is about these days and symbols."""
        names = frozenset(symbols)
        here = pl.col("date").is_between(days.first, days.last) & pl.col("symbol").is_in(sorted(names))
        failed = {symbol: cause for symbol, cause in self.failed.items() if symbol in names}
        return ProviderFactors(self.provider, self.rows.filter(here), self.asked & names, failed, self.unknown & names)


async def daily(
    provider: Provider, sessions: Sequence[dt.date], symbols: Iterable[str], workers: int
) -> ProviderFactors:
    """Daily figures and adjustment factors of `sessions`, asked for by day or by symbol, as takes fewer requests."""
    assert isinstance(provider, Daily)
    names = _known(provider, symbols)
    asking = _Asking(workers)
    jobs = []
    for what, ask, fields in (
        ("daily", provider.daily, DAILY_FIELDS),
        ("adj_factor", provider.adjustments, ("adj_factor",)),
    ):
        if len(sessions) < len(names):
            jobs += [asking.one(what, None, _by_day(ask, day), fields) for day in sessions]
        elif sessions:
            span = Days(sessions[0], sessions[-1])
            jobs += [asking.one(what, symbol, _of_symbol(ask, span, symbol), fields) for symbol in names]
    return await asking.all(provider.name, names, jobs)


async def actions(provider: Provider, days: Days, symbols: Iterable[str], workers: int) -> ProviderFactors:
    """Splits, as new shares for an old one, and dividends, as money a share."""
    assert isinstance(provider, Actions)
    names = _known(provider, symbols)
    asking = _Asking(workers)

    def ask(symbol: str) -> Callable[[], Awaitable[pl.DataFrame]]:
        async def asked() -> pl.DataFrame:
            return _wide(await provider.actions(symbol, days))

        return asked

    jobs = [asking.one("actions", symbol, ask(symbol), ("split", "dividend")) for symbol in names]
    return await asking.all(provider.name, names, jobs)


@dataclass
class _Asking:
    """Requests to one provider under way, and what came of them."""

    workers: int
    frames: list[pl.DataFrame] = field(default_factory=list)
    failed: dict[str | None, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    over: dict[str, str] = field(default_factory=dict)
    missed: int = 0

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.workers)

    async def all(self, provider: str, names: Sequence[str], jobs: Sequence[Awaitable[None]]) -> ProviderFactors:
        await asyncio.gather(*jobs)
        of_all = self.failed.pop(None, None)
        failed = {symbol: cause for symbol, cause in self.failed.items() if symbol}
        if of_all is not None:
            failed |= {symbol: of_all for symbol in names if symbol not in failed}
        rows = pl.concat([FACTORS.columns.to_frame(), *self.frames]).with_columns(provider=pl.lit(provider))
        mine = rows.filter(pl.col("symbol").is_in(list(names)))
        return ProviderFactors(provider, mine, frozenset(names), failed, frozenset(self.unknown))

    async def one(
        self, what: str, symbol: str | None, ask: Callable[[], Awaitable[pl.DataFrame]], fields: Sequence[str]
    ) -> None:
        """Ask once; what went wrong concerns `symbol`, or all when that is None."""
        async with self._places:
            if cause := self.over.get(what) or self.over.get(""):
                self.failed.setdefault(symbol, cause)
                return
            try:
                self._take(what, long(await ask(), "-", fields))
            except UnknownSymbol:
                self.unknown.add(symbol or "")
            except MarketDataError as error:
                self.failed.setdefault(symbol, str(error))
                self.missed += isinstance(error, ProviderAway)
                if isinstance(error, _OF_THE_ACCOUNT):
                    self.over[what] = str(error)
                elif self.missed >= IN_A_ROW:
                    self.over[""] = str(error)

    def _take(self, what: str, rows: pl.DataFrame) -> None:
        self.missed = 0
        finite = pl.col("value").is_finite()
        self.frames.append(rows.filter(finite))
        for symbol, date, factor in rows.filter(~finite).select("symbol", "date", "factor").iter_rows():
            self.failed[symbol] = f"{what}: {factor} of {date} is not finite"


def _known(provider: Provider, symbols: Iterable[str]) -> list[str]:
    """Those that the provider has a name for."""
    return [symbol for symbol in symbols if provider.config.symbol_mapping.theirs(symbol)]


def _by_day(
    ask: Callable[[Days, str | None], Awaitable[pl.DataFrame]], day: dt.date
) -> Callable[[], Awaitable[pl.DataFrame]]:
    return lambda: ask(Days(day, day), None)


def _of_symbol(
    ask: Callable[[Days, str | None], Awaitable[pl.DataFrame]], days: Days, symbol: str
) -> Callable[[], Awaitable[pl.DataFrame]]:
    return lambda: ask(days, symbol)


def _wide(events: pl.DataFrame) -> pl.DataFrame:
    """Two splits of a day make one of both, two dividends their sum."""
    split = (pl.col("numerator") / pl.col("denominator")).filter(pl.col("kind") == "split")
    amount = pl.col("amount").filter(pl.col("kind") == "dividend")
    return events.group_by("symbol", "date").agg(
        split=pl.when(split.count() > 0).then(split.product()),
        dividend=pl.when(amount.count() > 0).then(amount.sum()),
    )

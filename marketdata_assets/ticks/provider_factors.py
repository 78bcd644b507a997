"""Factors that providers return: daily figures and adjustment factors, splits and dividends, in the table's form.

What is written of them, and what becomes of existing ones, is decided in `factor_reconcile`.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, runtime_checkable

import polars as pl

from marketdata_assets.logs import get_logger
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.circuit_breaker import CircuitBreaker
from marketdata_assets.ticks.errors import UnknownSymbol
from marketdata_assets.ticks.factor_sql import long
from marketdata_assets.ticks.fallback import Provider
from marketdata_assets.ticks.records import DAILY_FIELDS
from marketdata_assets.ticks.tables import FACTORS

log = get_logger(__name__)


@runtime_checkable
class Daily(Provider, Protocol):
    """A provider of figures by day: of one symbol with one request, of all with one request a day."""

    async def daily(self, days: Days, symbol: str | None = None) -> pl.DataFrame: ...

    async def adjustments(self, days: Days, symbol: str | None = None) -> pl.DataFrame: ...


@runtime_checkable
class Actions(Provider, Protocol):
    """A provider of splits and dividends, a request a symbol however many days."""

    async def actions(self, symbol: str, days: Days) -> pl.DataFrame: ...


@dataclass(frozen=True)
class ProviderFactors:
    """What one provider returned of some `days`. `failed` are the symbols that it did not return in full.

    `unknown` are symbols that it does not have. `complete` are the symbols and days of daily figures that it has both
    of; None for events, which most days have none of.
    """

    provider: str
    rows: pl.DataFrame
    requested: frozenset[str]
    failed: Mapping[str, str]
    days: Days
    unknown: frozenset[str] = frozenset()
    complete: frozenset[tuple[str, dt.date]] | None = None

    def within(self, days: Days, symbols: Iterable[str]) -> "ProviderFactors":
        """Those of these days and symbols."""
        names = frozenset(symbols)
        here = pl.col("date").is_between(days.first, days.last) & pl.col("symbol").is_in(sorted(names))
        failed = {symbol: cause for symbol, cause in self.failed.items() if symbol in names}
        requested, unknown = self.requested & names, self.unknown & names
        span = Days(max(self.days.first, days.first), min(self.days.last, days.last))
        return replace(
            self, rows=self.rows.filter(here), requested=requested, failed=failed, days=span, unknown=unknown
        )


async def daily(
    provider: Daily, breaker: CircuitBreaker, sessions: Sequence[dt.date], symbols: Iterable[str]
) -> ProviderFactors:
    """Daily figures and adjustment factors of one or more `sessions`, requested by day or by symbol, as is fewer."""
    names = _mapped(provider, symbols)
    requests = _Requests(provider, breaker)
    sent = []
    for interface, fetch, fields in (
        ("daily", provider.daily, DAILY_FIELDS),
        ("adj_factor", provider.adjustments, ("adj_factor",)),
    ):
        if len(sessions) < len(names):
            sent += [requests.send(interface, None, partial(fetch, Days(day, day)), fields) for day in sessions]
        else:
            span = Days(sessions[0], sessions[-1])
            sent += [requests.send(interface, symbol, partial(fetch, span, symbol), fields) for symbol in names]
    answer = await requests.results(names, sent, Days(sessions[0], sessions[-1]))
    is_adjustment = pl.col("factor") == "adj_factor"
    both = answer.rows.group_by("symbol", "date").agg(is_adjustment.any() & (~is_adjustment).any())
    return replace(answer, complete=frozenset(both.filter("factor").select("symbol", "date").iter_rows()))


async def actions(provider: Actions, breaker: CircuitBreaker, days: Days, symbols: Iterable[str]) -> ProviderFactors:
    """Splits, as new shares for an old one, and dividends, as money a share."""
    names = _mapped(provider, symbols)
    requests = _Requests(provider, breaker)
    fields = ("split", "dividend")
    sent = [requests.send("actions", symbol, partial(_actions, provider, symbol, days), fields) for symbol in names]
    return await requests.results(names, sent, days)


@dataclass
class _Requests:
    """The requests of one load to one provider, and their results."""

    provider: Provider
    breaker: CircuitBreaker
    frames: list[pl.DataFrame] = field(default_factory=list)
    failed: dict[str | None, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    async def results(self, symbols: Sequence[str], requests: Sequence[Awaitable[None]], days: Days) -> ProviderFactors:
        await asyncio.gather(*requests)
        of_all = self.failed.pop(None, None)
        failed = {symbol: cause for symbol, cause in self.failed.items() if symbol}
        if of_all is not None:
            failed |= {symbol: of_all for symbol in symbols if symbol not in failed}
        name = self.provider.name
        rows = pl.concat([FACTORS.columns.to_frame(), *self.frames]).with_columns(provider=pl.lit(name))
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
        return ProviderFactors(name, rows, frozenset(symbols), failed, days, frozenset(self.unknown))

    async def send(
        self, interface: str, symbol: str | None, request: Callable[[], Awaitable[pl.DataFrame]], names: Sequence[str]
    ) -> None:
        """Send one request; a failure concerns `symbol`, or all symbols when that is None."""
        try:
            rows = long(await self.breaker.call(symbol or "all symbols", request), "-", names)
        except UnknownSymbol:
            self.unknown.add(symbol or "")
            return
        except Exception as error:  # of one request: the others are sent
            self.failed.setdefault(symbol, str(error))
            log.warning("factors_failed", provider=self.provider.name, interface=interface, symbol=symbol, error=error)
            return
        finite = pl.col("value").is_finite()
        self.frames.append(rows.filter(finite))
        for name, date, factor in rows.filter(~finite).select("symbol", "date", "factor").iter_rows():
            self.failed[name] = f"{interface}: {factor} of {date} is not finite"


def _mapped(provider: Provider, symbols: Iterable[str]) -> list[str]:
    return [symbol for symbol in symbols if provider.config.symbol_mapping.theirs(symbol)]


async def _actions(provider: Actions, symbol: str, days: Days) -> pl.DataFrame:
    """Two splits of a day make one of both, two dividends their sum."""
    events = await provider.actions(symbol, days)
    split = (pl.col("numerator") / pl.col("denominator")).filter(pl.col("kind") == "split")
    amount = pl.col("amount").filter(pl.col("kind") == "dividend")
    return events.group_by("symbol", "date").agg(
        split=pl.when(split.count() > 0).then(split.product()),
        dividend=pl.when(amount.count() > 0).then(amount.sum()),
    )

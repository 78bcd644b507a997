"""The bars of a symbol from the first provider that has them, and why those before it had none.

Which providers there are, and in which order, the providers file says. Nothing is put together from two providers.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.ticks.providers_file import FilesProvider, Table
from marketdata_assets.ticks.records import Days, Delivery, Label

TABLE: Table = "tick_data"

TradingDays = Callable[[Days], Sequence[dt.date]]


class Provider(Protocol):
    """What Tushare, Yahoo and Files have in common."""

    name: str
    label: Label

    @property
    def config(self) -> FilesProvider: ...

    async def bars(self, symbol: str, days: Days) -> Delivery: ...


P = TypeVar("P", bound=Provider)


def in_order(providers: Iterable[P], table: Table) -> list[P]:
    """The enabled ones that support `table`, by priority; of equals, the first given."""
    usable = [one for one in providers if one.config.enabled and table in one.config.supports]
    return sorted(usable, key=lambda one: one.config.priority)


@dataclass(frozen=True)
class Tried:
    """A provider that did not deliver, and why."""

    provider: str
    outcome: Literal["empty", "unsupported", "failed"]
    reason: str
    error: MarketDataError | None = None


@dataclass(frozen=True)
class Answer:
    """What came of one symbol in some days.

    `ok` has a delivery; `empty` is sure: no trading day, or nobody who answered has a bar (a suspended stock).
    `unsupported` is no failure either: nobody reaches these days. `failed` may be better later, or needs a person.
    """

    symbol: str
    days: Days
    outcome: Literal["ok", "empty", "unsupported", "failed"]
    delivery: Delivery | None
    tried: tuple[Tried, ...]

    @property
    def provider(self) -> str | None:
        """Where the bars came from."""
        return self.delivery.provider if self.delivery else None

    @property
    def why(self) -> str:
        """Why others did not answer, in one line."""
        return "; ".join(f"{one.provider} {one.outcome}: {one.reason}" for one in self.tried)


@dataclass(frozen=True)
class Fallback:
    """Providers in the order they are asked. `trading_days` may be `calendar.ashares().trading_days`."""

    providers: tuple[Provider, ...]
    trading_days: TradingDays

    @classmethod
    def of(cls, providers: Sequence[Provider], trading_days: TradingDays) -> "Fallback":
        """The enabled ones that support minute bars, by priority; of equals, the first given."""
        return cls(tuple(in_order(providers, TABLE)), trading_days)

    async def bars(self, symbol: str, days: Days) -> Answer:
        """Ask one provider after the other. Errors of providers end in the answer; OutsideCalendar is raised."""
        if not self.trading_days(days):
            calendar = Tried("calendar", "empty", f"no trading day in {days}")
            return Answer(symbol, days, "empty", None, (calendar,))
        tried: list[Tried] = []
        for provider in self.providers:
            try:
                delivery = await provider.bars(symbol, days)
            except MarketDataError as error:
                tried.append(Tried(provider.name, "failed", str(error), error))
                continue
            if delivery.outcome == "ok":
                return Answer(symbol, days, "ok", delivery, tuple(tried))
            tried.append(Tried(provider.name, delivery.outcome, delivery.reason))
        return Answer(symbol, days, _outcome(tried), None, tuple(tried))


def _outcome(tried: Sequence[Tried]) -> Literal["empty", "unsupported", "failed"]:
    """What it means that nobody delivered.

    A provider that was away might have had bars. One that needs a person (a token, a permission) or does not know the
    symbol has said all it will say, so it does not spoil the answer of another.
    """
    if any(isinstance(one.error, TransientError) for one in tried):
        return "failed"
    if any(one.outcome == "empty" for one in tried):
        return "empty"
    if all(one.outcome == "unsupported" for one in tried) and tried:
        return "unsupported"
    return "failed"

"""The rows of a symbol from the first provider that has them, and why those before it had none.

Providers and their order come from the providers file. Rows of two providers are never mixed.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, runtime_checkable

from marketdata_assets.errors import MarketDataError, TransientError, is_outage
from marketdata_assets.logs import get_logger
from marketdata_assets.reference.calendar import TradingDays
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.ticks.errors import NoPermission, NoToken
from marketdata_assets.ticks.providers_file import FilesProvider
from marketdata_assets.ticks.records import Delivery

log = get_logger(__name__)


class Provider(Protocol):
    """What Tushare, Yahoo, Alpaca and Files have in common."""

    name: str
    label: Label

    @property
    def configured(self) -> bool: ...

    @property
    def config(self) -> FilesProvider: ...

    async def bars(self, symbol: str, days: Days) -> Delivery: ...


@runtime_checkable
class BookProvider(Provider, Protocol):
    """A provider that has order books of the past."""

    async def books(self, symbol: str, days: Days) -> Delivery: ...


P = TypeVar("P", bound=Provider)

Fetch = Callable[[Provider, str, Days], Awaitable[Delivery]]


def in_order(providers: Iterable[P], table: str) -> list[P]:
    """The enabled ones that support `table`, by priority; of equals, the first given."""
    usable = [provider for provider in providers if provider.config.enabled and table in provider.config.supports]
    return sorted(usable, key=lambda provider: provider.config.priority)


@dataclass(frozen=True)
class Tried:
    """A provider that did not deliver, and why. One that is not configured is `unsupported`."""

    provider: str
    outcome: Literal["empty", "unsupported", "failed"]
    reason: str
    error: MarketDataError | None = None


@dataclass(frozen=True)
class Answer:
    """What the providers returned for one symbol and some days.

    `ok` has a delivery. `empty` is certain: no trading day, or no provider that responded has a row (a suspended
    stock). `unsupported` is no failure either: no provider reaches these days. `failed` may succeed later, or needs a
    person.
    """

    outcome: Literal["ok", "empty", "unsupported", "failed"]
    delivery: Delivery | None
    tried: tuple[Tried, ...]

    @property
    def provider(self) -> str | None:
        """The provider of the rows."""
        return self.delivery.provider if self.delivery else None

    def better(self, providers: Iterable[Provider]) -> tuple[str, ...]:
        """Those of `providers` that may have the days later and come before the one whose answer this is.

        Left out is one that said now that it has no such days, or has no permission for them.
        """
        said = {
            tried.provider
            for tried in self.tried
            if tried.outcome == "unsupported"
            or isinstance(tried.error, NoPermission)
            or (tried.outcome == "empty" and self.delivery is None)
        }
        before = [provider for provider in providers if provider.configured and provider.name not in said]
        mine = next((one.config.priority for one in providers if one.name == self.provider), None)
        return tuple(one.name for one in before if mine is None or one.config.priority < mine)

    @property
    def transient(self) -> bool:
        """Whether a provider was in an outage, not out of quota."""
        return any(is_outage(tried.error) for tried in self.tried)

    @property
    def why(self) -> str:
        """Why other providers did not deliver, in one line."""
        return "; ".join(f"{tried.provider} {tried.outcome}: {tried.reason}" for tried in self.tried)


@dataclass(frozen=True)
class Fallback:
    """Providers in the order in which they are tried. `unsupported` are known not to have the table.

    `trading_days` saves requests for days without trading; None requests any day.
    """

    providers: tuple[Provider, ...]
    trading_days: TradingDays | None
    fetch: Fetch
    unsupported: tuple[Tried, ...] = ()

    async def rows(self, symbol: str, days: Days) -> Answer:
        """Try one provider after the other, of those that know the exchange. Their errors are part of the answer."""
        if self.trading_days is not None and not self.trading_days(days):
            calendar = Tried("calendar", "empty", f"no trading day in {days}")
            return Answer("empty", None, (calendar,))
        known = [provider for provider in self.providers if provider.config.symbol_mapping.theirs(symbol)]
        tried: list[Tried] = []
        for provider in () if known else self.providers:
            reason = f"the symbol mapping of {provider.name} has no rule for {symbol}"
            tried.append(Tried(provider.name, "unsupported", reason))
        for provider in known:
            try:
                delivery = await self.fetch(provider, symbol, days)
            except NoToken as error:
                tried.append(Tried(provider.name, "unsupported", str(error)))
                continue
            except MarketDataError as error:
                log.warning("provider_failed", provider=provider.name, symbol=symbol, error=error)
                tried.append(Tried(provider.name, "failed", str(error), error))
                continue
            if delivery.outcome == "ok":
                if any(before.outcome == "failed" for before in tried):
                    log.info("provider_fallback", provider=provider.name, symbol=symbol, days=str(days))
                return Answer("ok", delivery, tuple(tried))
            tried.append(Tried(provider.name, delivery.outcome, delivery.reason))
        tried += self.unsupported
        return Answer(_outcome(tried), None, tuple(tried))


def _outcome(tried: Sequence[Tried]) -> Literal["empty", "unsupported", "failed"]:
    """What it means that no provider delivered.

    A provider in an outage might have had rows. One that needs a person (a token, a permission) or does not know the
    symbol will not answer differently later, so the answer of another counts; so does that of a better provider where
    the next ones reject, as one may do every day.
    """
    first_empty = next((number for number, provider in enumerate(tried) if provider.outcome == "empty"), len(tried))
    if any(
        isinstance(provider.error, TransientError) and (number < first_empty or is_outage(provider.error))
        for number, provider in enumerate(tried)
    ):
        return "failed"
    if any(provider.outcome == "empty" for provider in tried):
        return "empty"
    if all(provider.outcome == "unsupported" for provider in tried) and tried:
        return "unsupported"
    return "failed"

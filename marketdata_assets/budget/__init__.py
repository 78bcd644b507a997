"""A rate budget that belongs to a credential: every process, thread and task that uses it shares it, on all machines
that share its store.

Turns are spaced evenly, at 99 % of the rate, so that a server which counts requests over a sliding period never sees
more than it allows, although some arrive a little late. Nobody holds a turn in advance, so a process that is killed
takes none with it.

A store keeps the moment of the next turn: `files` in a folder, or `stores.budgets` in PostgreSQL.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from marketdata_assets.budget.files import LONGEST_BLOCK_SECONDS, SLOTS, Clock, FileStore
from marketdata_assets.errors import TransientError

__all__ = [
    "LONGEST_BLOCK_SECONDS",
    "SLOTS",
    "Budget",
    "BudgetBlocked",
    "BudgetPlace",
    "BudgetStore",
    "BudgetUnavailable",
    "Clock",
    "FileStore",
    "Quota",
    "ReservedShares",
]

SHARE = 0.99
"""The part of the rate that is used; the rest is a margin for requests that travel slower than others."""

LONGEST_NAP_SECONDS = 5.0
"""After this long a waiter asks again, in case the state was corrected meanwhile."""

_NAME = re.compile(r"[A-Za-z0-9@._-]+")


class BudgetBlocked(TransientError):
    """The server requested a longer pause than the caller is willing to wait."""

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"budget {name}: the server requested a pause of {seconds:.0f} s. Run it again after that.")


class BudgetUnavailable(TransientError):
    """The store of the budgets does not answer, so that no request may be sent."""

    def __init__(self, store: str, cause: str) -> None:
        reason = cause.strip().partition("\n")[0].rstrip(".")
        super().__init__(
            f"budgets in {store}: {reason}. No request is sent without a turn; "
            "start that server, or correct MARKETDATA_BUDGETS."
        )


class BudgetStore(Protocol):
    """Where the turns of budgets are kept. Every method raises BudgetUnavailable when a server does not answer."""

    async def take(self, budget: "Budget", cost: float) -> float:
        """Acquire a turn and return 0, or return the seconds to wait before the next attempt."""

    def block(self, budget: "Budget", seconds: float) -> None:
        """Grant no turn for `seconds`; a longer block that exists already stays."""

    async def count(self, quota: "Quota") -> float:
        """Count one request and return 0; or count nothing and return the seconds until it is worth asking again."""


BudgetPlace = Path | BudgetStore
"""A folder, whose files are the store, or another store."""


def _store(place: BudgetPlace) -> BudgetStore:
    return FileStore(place) if isinstance(place, Path) else place


@dataclass(frozen=True)
class ReservedShares:
    """A store of budgets of which other programs, that do not count in it, have a share: by name, from 0 to below 1."""

    place: BudgetPlace
    shares: Mapping[str, float]

    @cached_property
    def store(self) -> BudgetStore:
        return _store(self.place)

    async def take(self, budget: "Budget", cost: float) -> float:
        return await self.store.take(budget, cost / (1.0 - self.shares.get(budget.name, 0.0)))

    def block(self, budget: "Budget", seconds: float) -> None:
        self.store.block(budget, seconds)

    async def count(self, quota: "Quota") -> float:
        return await self.store.count(quota)


@dataclass(frozen=True)
class Budget:
    """At most `requests` in any `per_seconds`, over all processes that name the same `place` and `name`."""

    place: BudgetPlace
    name: str
    per_seconds: float
    requests: float

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not self.name.strip("."):
            raise ValueError(f"budget name {self.name!r}: use letters, digits and @._-")
        if not (self.per_seconds > 0 and self.requests > 0):
            raise ValueError(f"budget {self.name}: {self.requests} requests in {self.per_seconds} s is no rate")

    @cached_property
    def store(self) -> BudgetStore:
        return _store(self.place)

    @property
    def spacing(self) -> float:
        """Seconds from one turn to the next."""
        return self.per_seconds / self.requests / SHARE

    @property
    def lateness(self) -> float:
        """A turn may be taken so late without a loss: half of the margin.

        The other half is for the way to the server.
        """
        return (1 / SHARE - 1) / 2 * self.per_seconds

    async def acquire(self, patience: float | None = None, *, cost: float = 1.0) -> None:
        """Wait for a turn; BudgetBlocked at once when a block will last longer than `patience` seconds.

        A turn that costs more than one delays the next one for longer. A server that counts costs may see the most
        expensive request beyond `requests` in a period: leave room for it. Raises BudgetUnavailable.
        """
        while wait := await self.store.take(self, cost):
            if patience is not None and wait > patience + self.spacing:
                raise BudgetBlocked(self.name, wait)
            await asyncio.sleep(min(wait, LONGEST_NAP_SECONDS))

    def block(self, seconds: float) -> None:
        """Grant no turn for `seconds`; a longer block that exists already stays. Raises BudgetUnavailable."""
        self.store.block(self, min(max(seconds, 0.0), LONGEST_BLOCK_SECONDS))


@dataclass(frozen=True)
class Quota:
    """At most `requests` in any `per_seconds`, as soon as they are wanted, over all processes that share the place."""

    place: BudgetPlace
    name: str
    per_seconds: float
    requests: float

    @cached_property
    def store(self) -> BudgetStore:
        return _store(self.place)

    async def take(self) -> float:
        """Count one request and return 0; or count nothing and return the seconds until it is worth asking again."""
        return await self.store.count(self)

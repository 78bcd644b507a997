"""Months of many accounts from the API: accounts side by side, the months of one after another.

How one month is fetched is in `fetch`. What happens to one account never touches another.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from marketdata_assets.alphas import watch
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.errors import NoCredentials, NotEnabled
from marketdata_assets.alphas.fetch import FetchReport, fetch
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.watch import Pair
from marketdata_assets.progress import Progress

Outcome = Literal["fetched", "standing", "failed"]

Door = Callable[[str], BrainClient]
"""Gives an account's client, or raises the error that says why there is none."""

MAX_NAMED = 5


@dataclass(frozen=True)
class MonthFetched:
    """How one month of an account ended; `standing` took what lies on disk, and `note` says why."""

    account: str
    month: str
    outcome: Outcome
    files: int  # raw files of the month on disk
    report: FetchReport | None = None
    note: str = ""


@dataclass(frozen=True)
class CollectReport:
    """What one round over accounts and months did."""

    months: tuple[MonthFetched, ...]
    seconds: float

    @property
    def fetched(self) -> tuple[FetchReport, ...]:
        return tuple(month.report for month in self.months if month.report)

    @property
    def failed(self) -> tuple[MonthFetched, ...]:
        return tuple(month for month in self.months if month.outcome == "failed")

    def count(self, outcome: Outcome) -> int:
        return sum(month.outcome == outcome for month in self.months)


def collect(
    root: Path,
    pairs: Sequence[Pair],
    door: Door | None,
    *,
    now: dt.datetime,
    refetch: bool = False,
    progress: Progress | None = None,
) -> CollectReport:
    """Make the raw slices of `pairs` what the API lists; without a `door` nobody is asked and the disk is taken.

    An account that was never meant to be fetched, but has files, stands as it is, unless `refetch` insists.
    """
    started = time.monotonic()
    job = _Job(root, door, now, refetch, progress)
    accounts = sorted({account for account, _ in pairs})
    months = {account: sorted({month for one, month in pairs if one == account}) for account in accounts}
    ends = asyncio.run(job.all(months)) if door else [job.standing(one, months[one], "") for one in accounts]
    counts = {account: _files(root, account) for account in accounts}
    found = [
        MonthFetched(end.account, end.month, end.outcome, counts[end.account].get(end.month, 0), end.report, end.note)
        for account_ends in ends
        for end in account_ends
    ]
    return CollectReport(tuple(found), time.monotonic() - started)


@dataclass(frozen=True)
class _Job:
    root: Path
    door: Door | None
    now: dt.datetime
    refetch: bool
    progress: Progress | None

    async def all(self, months: dict[str, list[str]]) -> list[list[MonthFetched]]:
        return list(await asyncio.gather(*(self._account(one, wanted) for one, wanted in months.items())))

    def standing(self, account: str, months: Sequence[str], why: str) -> list[MonthFetched]:
        """Take what lies on disk; an account without any file fails."""
        if account in watch.accounts_on_disk(self.root):
            return [MonthFetched(account, month, "standing", 0, note=why) for month in months]
        nothing = f"{why or f'account {account} is not fetched.'} Nor has it any files in {self.root / account}."
        return [MonthFetched(account, month, "failed", 0, note=nothing) for month in months]

    async def _account(self, account: str, months: Sequence[str]) -> list[MonthFetched]:
        assert self.door
        try:
            client = self.door(account)
        except (NotEnabled, NoCredentials) as error:
            never_meant = isinstance(error, NotEnabled) or error.unset
            if never_meant and not self.refetch:
                return self.standing(account, months, str(error))
            return [MonthFetched(account, month, "failed", 0, note=str(error)) for month in months]
        async with client:
            return [await self._month(client, account, month) for month in months]

    async def _month(self, client: BrainClient, account: str, month: str) -> MonthFetched:
        try:
            report = await fetch(
                client, self.root, account, month, now=self.now, refetch=self.refetch, progress=self.progress
            )
        except Exception as error:
            # Whatever it is, it is this account's: the others go on.
            return MonthFetched(account, month, "failed", 0, note=f"{account} {month}: {type(error).__name__}: {error}")
        if not report.failed:
            return MonthFetched(account, month, "fetched", 0, report)
        return MonthFetched(account, month, "failed", 0, report, _why(report))


def _why(report: FetchReport) -> str:
    """The different reasons of failed windows, not one line for each of them."""
    reasons = list(dict.fromkeys(str(window.error) for window in report.failed))
    named = reasons[:MAX_NAMED] + ([f"and {len(reasons) - MAX_NAMED} more"] if len(reasons) > MAX_NAMED else [])
    return f"{report.account} {report.month}: {len(report.failed)} windows failed: {'; '.join(named)}"


def _files(root: Path, account: str) -> dict[str, int]:
    """Raw files by month."""
    found: dict[str, int] = {}
    for kind in KINDS:
        for month, (count, *_) in watch.raw_states(root, account, kind).items():
            found[month] = found.get(month, 0) + count
    return found

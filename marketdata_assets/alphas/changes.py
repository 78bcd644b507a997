"""Alphas of the API's list that a fetch of months does not see: submitted and changed since, chosen by filters, by id.

They are raw files, one per alpha, which packaging reads beside the slices; an alpha that is unchanged since it was last
seen is not written again.

BRAIN's list has no known filter by dateModified. It is requested in that order, newest first, where the API orders by
it; each fetch checks that, as an API may ignore an order. Submitted alphas are listed completely.
"""

import asyncio
import datetime as dt
import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec

from marketdata_assets import state_files
from marketdata_assets.alphas.api import PAGE_LIMIT, BrainClient
from marketdata_assets.alphas.api_requests import Page
from marketdata_assets.alphas.errors import RequestRejected, UnsafeId
from marketdata_assets.alphas.fetch import LISTING_DELAY, ClientFactory
from marketdata_assets.alphas.filters import Filters
from marketdata_assets.alphas.layout import KINDS, Kind, Window, changed_path, month_window
from marketdata_assets.alphas.paging import ListReader, all_results
from marketdata_assets.alphas.raw_files import OLDEST, NoAlpha, alpha_of
from marketdata_assets.months import FIRST_ALPHA_MONTH
from marketdata_assets.state_files import replacing

SUBMITTED = "&status!=UNSUBMITTED%1FIS-FAIL"
"""The filter by which public clients list what was submitted."""

ROTATION = "what changed besides is found by the rotation of months"
NO_ORDER = f"the API does not order alphas by dateModified; {ROTATION}"
TOO_MANY = f"more alphas have changed than the API pages through; {ROTATION}"

OVERLAP = dt.timedelta(hours=1)
MAX_INTERRUPTION = dt.timedelta(hours=3)
"""After which a fetch that was killed is not continued: what it had listed may have changed."""

LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)
FIRST_REACH = dt.timedelta(days=3)
"""How far back the first fetch of an account looks for changes; what changed before is found by the rotation."""


@dataclass
class ChangesReport:
    """The result for one account. `note` says what the API does not offer; `written` have changed since last seen."""

    account: str
    listed: int = 0
    written: int = 0
    months: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)  # ids that the API does not know
    rejected: list[str] = field(default_factory=list)
    requests: int = 0
    note: str = ""
    error: str = ""


@dataclass(frozen=True)
class Selection:
    """What is listed: `filters`, or `ids`; without either, what was submitted or changed since the last fetch."""

    filters: Filters | None = None
    ids: tuple[str, ...] = ()


def fetch_changes(
    root: Path, accounts: Iterable[str], client_of: ClientFactory, selection: Selection, *, now: dt.datetime
) -> list[ChangesReport]:
    """Write the selected alphas of `accounts` as raw files; an account that fails does not affect the others."""

    async def one(account: str) -> ChangesReport:
        report = ChangesReport(account)
        try:
            async with client_of(account) as client:
                await _fetch(client, root, report, selection, now)
                report.requests = client.requests
        except Exception as error:  # of whatever class: it is this account's failure
            report.error = f"{account}: {str(error) or type(error).__name__}"
        return report

    return asyncio.run(all_results([one(account) for account in accounts]))


async def _fetch(
    client: BrainClient, root: Path, report: ChangesReport, selection: Selection, now: dt.datetime
) -> None:
    seen = Seen(root, report.account, now)
    if selection.ids:
        for name in dict.fromkeys(selection.ids):
            try:
                raw = await client.alpha(name)
            except UnsafeId as error:
                report.rejected.append(f"{name!r}: {error}")
                continue
            if raw is None:
                report.unknown.append(name)
            else:
                _write(root, seen, report, [raw])
        seen.save()
        return
    if selection.filters:
        for kind in selection.filters.kinds:
            await _list(client, root, seen, report, kind, selection.filters.query())
    else:
        for kind in KINDS:
            await _list(client, root, seen, report, kind, SUBMITTED)
            changed, note = await _changed(client, kind, seen.state.until.get(kind, now - FIRST_REACH) - OVERLAP)
            _write(root, seen, report, changed)
            report.note = report.note or note
            seen.state.until[kind] = now
            seen.save()
    seen.state.started, seen.state.listed = None, {}  # the next one lists everything again
    seen.save()


class _State(msgspec.Struct):
    until: dict[Kind, dt.datetime] = {}  # up to when changes were listed
    digests: dict[str, str] = {}  # of alphas, by id
    started: dt.datetime | None = None  # of a fetch that has not finished
    listed: dict[str, dt.datetime] = {}  # up to which moment of creation it has listed, by kind and filters


class Seen:
    """What was seen of an account. A fetch that was killed leaves how far it has listed, which the next continues."""

    def __init__(self, root: Path, account: str, now: dt.datetime) -> None:
        self.now = now
        self._path = root / account / "changed_data" / ".seen.json"
        # Without it everything is written once more, which changes nothing.
        self.state = state_files.read(self._path, msgspec.json.Decoder(_State).decode) or _State()
        started = self.state.started
        if started is None or not dt.timedelta(0) <= now - started < MAX_INTERRUPTION:
            self.state.started, self.state.listed = now, {}

    def save(self) -> None:
        state_files.write(self._path, msgspec.json.encode(self.state))


async def _list(client: BrainClient, root: Path, seen: Seen, report: ChangesReport, kind: Kind, where: str) -> None:
    """Write all alphas that match, whenever they were created, and after each part how far they are listed."""
    reader, listed, key = ListReader(client, where=where), seen.state.listed, f"{kind}{where}"
    start = listed.get(key, month_window(FIRST_ALPHA_MONTH).start)
    window = Window(start, LATEST).until(seen.now - LISTING_DELAY)
    left = [window] if window else []
    while left:
        part, rest = await reader.read(kind, left.pop(0))
        left = rest + left
        if part:
            _write(root, seen, report, list(part.alphas.values()))
            listed[key] = part.window.end
            seen.save()


async def _changed(client: BrainClient, kind: Kind, since: dt.datetime) -> tuple[list[bytes], str]:
    """The alphas with a dateModified from `since` on, and a note when others may have changed too."""
    try:
        oldest = (await client.ordered(kind, "dateModified", 0, 1)).ids
        page = await client.ordered(kind, "-dateModified", 0)
    except RequestRejected as error:
        if error.status == 400:
            return [], NO_ORDER
        raise
    found = list(page.results)
    if _continues(page, len(found)) and (oldest == page.ids[:1] or not _descends(page)):
        return [], NO_ORDER  # both directions begin with the same alpha: the order is ignored
    while page.results and _continues(page, len(found)) and _modified(page.results[-1]) >= since:
        try:
            page = await client.ordered(kind, "-dateModified", len(found))
        except RequestRejected as error:
            if error.status == 400:  # further than the API pages
                return found, TOO_MANY
            raise
        if not _descends(page):
            return found, NO_ORDER
        found += page.results
    return [raw for raw in found if _modified(raw) >= since], ""


def _continues(page: Page, found: int) -> bool:
    """Whether alphas may follow the `found` ones: a count may be capped, so a full page ends no list."""
    return page.count > found or len(page.results) >= PAGE_LIMIT


def _descends(page: Page) -> bool:
    return all(_modified(before) >= _modified(after) for before, after in pairwise(page.results))


def _modified(raw: bytes) -> dt.datetime:
    with suppress(NoAlpha):
        alpha = alpha_of(raw, OLDEST)
        return alpha.modified or alpha.created or OLDEST
    return OLDEST


def _write(root: Path, seen: Seen, report: ChangesReport, alphas: Sequence[bytes]) -> None:
    """Write those that differ from when they were last seen."""
    report.listed += len(alphas)
    for raw in alphas:
        try:
            alpha = alpha_of(raw, None)
        except NoAlpha as error:
            report.rejected.append(f"{str(raw[:80], 'utf-8', 'replace')}: {error}")
            continue
        digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
        if seen.state.digests.get(alpha.id) != digest:
            kind: Kind = "super" if msgspec.json.decode(raw, type=_Type).type == "SUPER" else "regular"
            path = changed_path(root, report.account, kind, f"{alpha.day:%Y-%m}", alpha.id)
            with replacing(path, path.with_name(f".{path.name}.{os.getpid()}.partial")) as file:
                file.write(raw)
            seen.state.digests[alpha.id] = digest
            report.written += 1
            report.months.add(f"{alpha.day:%Y-%m}")


class _Type(msgspec.Struct):
    type: str = "REGULAR"

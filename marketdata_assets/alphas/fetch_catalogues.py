"""Catalogues of BRAIN, fetched for the markets of each account and stored as they are listed.

A catalogue has a database of its name with a collection an account. What a market no longer has is removed.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pymongo import ReplaceOne
from pymongo.database import Database

from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.catalogues import (
    CATALOGUES,
    CODE_VERSION,
    MARKET,
    NAMES,
    PAGE,
    Catalogue,
    Document,
    Name,
    asset_name,
    unit_of,
)
from marketdata_assets.alphas.errors import RequestRejected
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.status import AccountStatus
from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.loading.states import State
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry, Outcome

Entries = dict[str, Document]
"""By the field that names an entry; fields by data set and id."""


@dataclass(frozen=True)
class UnitReport:
    """The result for one market of an account, or for all markets."""

    account: str
    unit: str
    entries: int
    outcome: Outcome
    error: str = ""


class _Market(msgspec.Struct):
    instrumentType: str | None = None  # noqa: N815 - the document's name
    region: str | None = None
    delay: int | float | str | None = None
    universe: str | None = None


def markets(databases: mongo.Databases, account: str) -> list[Document]:
    """The markets of the account's alphas: instrument type, region, delay, universe."""
    grouped = [{"$group": {"_id": {name: f"$settings.{name}" for name in MARKET}, "alpha": {"$min": "$_id"}}}]
    found: set[tuple[Any, ...]] = set()
    for kind in KINDS:
        alphas = databases[database_name(kind)][account]
        settings = (one["_id"] | {"_id": one["alpha"]} for one in alphas.aggregate(grouped))
        found |= {tuple(map(one.get, MARKET)) for one in mongo.usable(alphas, settings, _Market)}
    return [dict(zip(MARKET, one, strict=True)) for one in sorted(found, key=str) if None not in one]


def fetch(
    server: str | mongo.Server,
    name: Name,
    accounts: Sequence[str],
    client_of: Callable[[str], BrainClient],
    *,
    run_id: str,
    now: dt.datetime,
) -> list[UnitReport]:
    """Fetch a catalogue for the markets of each account; one that fails keeps what it has, and the others continue.

    Raises StoreAway or StoreFull.
    """
    with mongo.databases(server) as databases, mongo.naming_failures():
        database = databases[asset_name(name)]
        mongo_ledger.ensure(database)
        found: list[UnitReport] = []
        for account in accounts:
            units = markets(databases, account) if CATALOGUES[name].by_market else [{}]
            for unit, entries in asyncio.run(_all(client_of, account, name, units)):
                report = _stored(database, account, name, unit, entries)
                rows = report.entries or database[account].count_documents({"unit": unit})
                entry = Entry(
                    dataset=asset_name(name),
                    source=account,
                    unit=unit,
                    read=rows,
                    rows=rows,
                    outcome=report.outcome,
                    error=report.error or None,
                    code_version=CODE_VERSION,
                    run_id=run_id,
                    started=now,
                )
                mongo_ledger.write(database, entry)
                found.append(report)
    return found


def statuses(databases: mongo.Databases) -> Iterator[AccountStatus]:
    """The status of each catalogue that was fetched for any account, by market."""
    for name in NAMES:
        database, states = databases[asset_name(name)], dict[str, dict[str, State]]()
        for one in mongo_ledger.entries(database, asset_name(name)):
            states.setdefault(one.source, {})[one.unit] = State(one.outcome)
        for account, own in states.items():
            documents = database[account].estimated_document_count()
            yield AccountStatus(asset_name(name), account, own, documents=documents)


async def _all(
    client_of: Callable[[str], BrainClient], account: str, name: Name, units: Iterable[Document]
) -> list[tuple[str, Entries | MarketDataError]]:
    found: list[tuple[str, Entries | MarketDataError]] = []
    try:
        brain = client_of(account)
    except MarketDataError as error:
        return [(unit_of(market), error) for market in units]
    async with brain:
        for market in units:
            try:
                found.append((unit_of(market), await _entries(brain, CATALOGUES[name], market)))
            except MarketDataError as error:
                found.append((unit_of(market), error))
    return found


async def _entries(brain: BrainClient, catalogue: Catalogue, market: Document) -> Entries:
    """All entries; by data set where the whole list would be longer than BRAIN pages through.

    Two data sets may have a field of the same id.
    """
    if not catalogue.per:
        return await _pages(brain, catalogue, market)
    found: Entries = {}
    for data_set in await _pages(brain, CATALOGUES["data_sets"], market):
        entries = await _pages(brain, catalogue, market | {catalogue.per: data_set})
        found |= {f"{data_set}/{key}": one for key, one in entries.items()}
    return found


async def _pages(brain: BrainClient, catalogue: Catalogue, parameters: Document) -> Entries:
    """The entries of all pages, each of which begins with the last entry of the one before.

    The last page is not full, which shows that nothing follows. Raises TransientError for pages that contradict
    one another or their count.
    """
    found: Entries = {}
    while True:
        known = len(found)
        offset = max(known - 1, 0)
        page = await brain.listed(catalogue.path, {**parameters, "limit": PAGE, "offset": offset} if parameters else {})
        for one in page.results:
            if not isinstance(one.get(catalogue.key), str):
                raise TransientError(f"{catalogue.path}: an entry has no {catalogue.key}: {str(one)[:80]}")
            found[one[catalogue.key]] = one
        if len(found) != offset + len(page.results) or len(found) > page.count or known == len(found) < page.count:
            raise TransientError(f"{catalogue.path}: {len(found)} of {page.count} entries are listed. Run it again.")
        if len(found) == page.count and (len(page.results) < PAGE or not parameters):
            return found


def _stored(
    database: Database[Document], account: str, name: Name, unit: str, found: Entries | MarketDataError
) -> UnitReport:
    if isinstance(found, MarketDataError):
        refused = isinstance(found, RequestRejected) and found.status == 403
        return UnitReport(account, unit, 0, "unsupported" if refused else "failed", str(found))
    fetched = mongo_ledger.now()
    documents = [{**one, "_id": f"{unit}/{key}", "unit": unit, "fetched": fetched} for key, one in found.items()]
    mongo.ensure_index(database[account], [("unit", 1)])
    if not documents and (stored := database[account].count_documents({"unit": unit})):
        kept = (
            f"{unit}: BRAIN lists none of {stored} entries; they are kept. If it lists none for good, delete the"
            f' documents with "unit": "{unit}" from {database.name}.{account}.'
        )
        return UnitReport(account, unit, 0, "failed", kept)
    if documents:
        database[account].bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in documents])
    database[account].delete_many({"unit": unit, "fetched": {"$ne": fetched}})
    return UnitReport(account, unit, len(documents), "ok" if documents else "empty")

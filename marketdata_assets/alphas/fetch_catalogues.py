"""Catalogues of BRAIN, fetched for the markets of each account and stored as they are listed.

A catalogue has a database of its name with a collection an account. What a market no longer has is removed.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class UnitReport:
    """The result for one market of an account, or for all markets."""

    account: str
    unit: str
    entries: int
    outcome: Outcome
    error: str = ""


def markets(databases: mongo.Databases, account: str) -> list[Document]:
    """The markets of the account's alphas: instrument type, region, delay, universe."""
    grouped = [{"$group": {"_id": {name: f"$settings.{name}" for name in MARKET}}}]
    found = {
        tuple(one["_id"].get(name) for name in MARKET)
        for kind in KINDS
        for one in databases[database_name(kind)][account].aggregate(grouped)
    }
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
) -> list[tuple[str, list[Document] | MarketDataError]]:
    found: list[tuple[str, list[Document] | MarketDataError]] = []
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


async def _entries(brain: BrainClient, catalogue: Catalogue, market: Document) -> list[Document]:
    """All entries; by data set where the whole list would be longer than BRAIN pages through."""
    if not catalogue.per:
        return await _pages(brain, catalogue, market)
    found = []
    for data_set in await _pages(brain, CATALOGUES["data_sets"], market):
        found += await _pages(brain, catalogue, market | {catalogue.per: data_set["id"]})
    return found


async def _pages(brain: BrainClient, catalogue: Catalogue, parameters: Document) -> list[Document]:
    """The entries of all pages. Raises TransientError when the list changed meanwhile."""
    found: dict[str, Document] = {}
    while True:
        offset = len(found)
        page = await brain.listed(catalogue.path, {**parameters, "limit": PAGE, "offset": offset} if parameters else {})
        for one in page.results:
            if not isinstance(one.get(catalogue.key), str):
                raise TransientError(f"{catalogue.path}: an entry has no {catalogue.key}: {str(one)[:80]}")
            found[one[catalogue.key]] = one
        if len(found) >= page.count:
            return list(found.values())
        if len(found) < offset + len(page.results) or not page.results:
            raise TransientError(f"{catalogue.path}: {len(found)} of {page.count} entries are listed. Run it again.")


def _stored(
    database: Database[Document], account: str, name: Name, unit: str, found: list[Document] | MarketDataError
) -> UnitReport:
    if isinstance(found, MarketDataError):
        refused = isinstance(found, RequestRejected) and found.status == 403
        return UnitReport(account, unit, 0, "unsupported" if refused else "failed", str(found))
    key, fetched = CATALOGUES[name].key, mongo_ledger.now()
    documents = [{**one, "_id": f"{unit}/{one[key]}", "unit": unit, "fetched": fetched} for one in found]
    mongo.ensure_index(database[account], [("unit", 1)])
    if documents:
        database[account].bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in documents])
    database[account].delete_many({"unit": unit, "fetched": {"$ne": fetched}})
    return UnitReport(account, unit, len(documents), "ok" if documents else "empty")

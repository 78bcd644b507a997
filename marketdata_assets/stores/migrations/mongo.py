"""Steps in MongoDB: commands for each collection of a database, or for its ledger, then the record beside the ledger.

The table of a step is a collection, or `accounts` for every one without a hyphen; in its commands `COLLECTION` is the
name of the collection.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import yaml
from pymongo.database import Database

from marketdata_assets.progress import report
from marketdata_assets.stores import migrations
from marketdata_assets.stores.migrations import Plan, Step
from marketdata_assets.stores.mongo import connect, naming_failures

NAME = "mongo"
RECORDS = "marketdata-schema"
ACCOUNTS = "accounts"
COLLECTION = "COLLECTION"

Store = Database[dict[str, Any]]


def check(database: Store) -> None:
    """Record the steps that the database does not need.

    Raises SchemaTooOld when it needs one, SchemaTooNew and StepChanged.
    """
    found = _plan(database)
    migrations.refuse_pending(_place(database), found.pending)
    _record(database, found.unneeded)


def pending(uri: str, name: str) -> Sequence[Step]:
    """The steps that the database needs. Raises SchemaTooNew and StepChanged."""
    with connect(uri) as client:
        return _plan(client[name]).pending


def migrate(uri: str, name: str) -> Sequence[Step]:
    """Run the steps that the database needs, with progress, and return them; loads continue meanwhile.

    Raises SchemaTooNew and StepChanged.
    """
    with connect(uri) as client:
        database = client[name]
        found = _plan(database)
        _record(database, found.unneeded)
        for done, step in enumerate(found.pending, 1):
            commands = yaml.safe_load(step.text)
            with naming_failures():
                for collection in _collections(database, step.table):
                    for command in commands:
                        database.command(_about(command, collection))
            _record(database, [step])
            report(done, len(found.pending), f"{name} {step.label}")
        return found.pending


def _about(value: Any, collection: str) -> Any:
    if isinstance(value, dict):
        return {key: _about(one, collection) for key, one in value.items()}
    if isinstance(value, list):
        return [_about(one, collection) for one in value]
    return collection if value == COLLECTION else value


def _collections(database: Store, table: str) -> list[str]:
    names = sorted(database.list_collection_names())
    if table == ACCOUNTS:
        return [name for name in names if "-" not in name and not name.startswith("system.")]
    return [name for name in names if name == table]


def _plan(database: Store) -> Plan:
    steps = migrations.steps_of(NAME)
    with naming_failures():
        recorded = {row["_id"]: (row["name"], row["checksum"]) for row in database[RECORDS].find({})}
        return migrations.plan(_place(database), steps, recorded, lambda table: bool(_collections(database, table)))


def _record(database: Store, steps: Sequence[Step]) -> None:
    for step in steps:
        row = {"name": step.name, "checksum": step.checksum, "applied": dt.datetime.now(dt.UTC)}
        with naming_failures():
            database[RECORDS].update_one({"_id": step.number}, {"$setOnInsert": row}, upsert=True)


def _place(database: Store) -> str:
    return f"MongoDB {database.name}"

"""Which symbols there are: the registry in ClickHouse, and the partitions that are kept in step with it.

A refresh only ever adds symbols: a delisted stock keeps its history. A person removes one, with
`marketdata symbols remove`.
"""

import datetime as dt
import time
from collections.abc import Iterable

import dagster as dg

from marketdata_assets.defs.metadata import WEEKDAYS, asset, table_schema
from marketdata_assets.defs.partition_results import as_dagster_failure
from marketdata_assets.defs.ticks import report
from marketdata_assets.partitions import TICK_SYMBOLS, dynamic_keys, missing
from marketdata_assets.resources import ClickHouse, Ticks

NAME = str(TICK_SYMBOLS.name)


def known(instance: dg.DagsterInstance) -> list[str]:
    """The symbols that are partitions, in Dagster's order."""
    return dynamic_keys(instance, TICK_SYMBOLS)


def add(instance: dg.DagsterInstance, symbols: Iterable[str]) -> list[str]:
    """Make partitions of those that are none yet, and return them."""
    added = missing(set(known(instance)), symbols)
    if added:
        instance.add_dynamic_partitions(NAME, added)
    return added


def discard(instance: dg.DagsterInstance, symbols: Iterable[str]) -> list[str]:
    """Make partitions of symbols none any more, and return those that were; what Dagster has logged of them is kept."""
    present = set(known(instance))
    gone = [symbol for symbol in dict.fromkeys(symbols) if symbol in present]
    for symbol in gone:
        instance.delete_dynamic_partition(NAME, symbol)
    return gone


class RegistryConfig(dg.Config):
    """Whose lists are read."""

    providers: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """These only, such as `files`; all that are enabled when left out."""


@asset(
    "ticks",
    deps=["instruments", "tick_files"],
    kinds={"clickhouse", "table"},
    code_version="registry-2",
    freshness_policy=WEEKDAYS,
    pool="clickhouse",
    metadata=table_schema("symbols"),
)
def symbol_registry(
    context: dg.AssetExecutionContext, config: RegistryConfig, clickhouse: ClickHouse, ticks: Ticks
) -> dg.MaterializeResult:
    """Every symbol with its name, when it was listed and delisted, and who says so; new ones become partitions.

    The instruments, or those of them that the file of `MARKETDATA_TICKS_SYMBOLS` names, and the names in dropped files.
    A symbol that nobody names any more is marked as vanished and keeps what was loaded of it. One that a person removed
    is not registered again; the run names it.
    """
    from marketdata_assets.reference import stored
    from marketdata_assets.reference.tables import INSTRUMENTS
    from marketdata_assets.ticks import registry

    began, wanted = time.monotonic(), ticks.restricted(config.providers)
    with as_dagster_failure(), clickhouse.client("ticks") as client:
        now = dt.datetime.now(dt.UTC)
        instruments = None if config.providers == ["files"] else stored.rows(client, INSTRUMENTS)
        found = registry.refresh(client, instruments, wanted.symbols_file, wanted.files(), now=now)
        added = add(context.instance, (listing.symbol for listing in registry.listed(client)))
    return report.symbols(found, len(added), time.monotonic() - began)

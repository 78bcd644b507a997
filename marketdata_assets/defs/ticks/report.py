"""Reports of the ticks library as Dagster metadata, materialisations and failures.

Numbers come from the reports and from short queries; nothing is loaded or computed here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import dagster as dg

from marketdata_assets.defs.metadata import row_count
from marketdata_assets.defs.partition_results import failure, failure_of, retry_later
from marketdata_assets.loading.reports import and_more
from marketdata_assets.partitions import tick_key
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.providers_file import Table
from marketdata_assets.ticks.reports import LoadReport, Outcome, UnitReport

if TYPE_CHECKING:
    from marketdata_assets.ticks.registry import RegistryReport

LOADED = ("ok", "empty")  # outcomes that materialize a partition: rows, or a proven empty
MAX_FAILURES = 1000  # more failed symbol-months than this are counted and not listed
MAX_SYMBOLS = 20


def materializations(
    table: Table, units: Sequence[UnitReport], summary: Mapping[str, Any] | None = None
) -> list[dg.AssetMaterialization]:
    """One for each loaded symbol-month, by month and symbol; the last one has the `summary` of the load."""
    found: dict[str, dict[str, Any]] = {}
    for unit in sorted(units, key=lambda unit: unit.unit[::-1]):
        facts: dict[str, Any] = {"provider": unit.provider, "note": unit.note, "rejected": unit.rejected}
        facts |= {"skipped": unit.skipped, "provisional_days": unit.provisional, "incomplete_days": unit.incomplete}
        known = {name: value for name, value in facts.items() if value}
        key = tick_key(unit.unit)
        found[key] = {"dagster/partition_row_count": unit.rows, "outcome": unit.outcome, **known}
    if found:
        found[key] |= summary or {}
    return [dg.AssetMaterialization(table, partition=key, metadata=metadata) for key, metadata in found.items()]


def of_load(client: Client, table: Table, loaded: LoadReport) -> dict[str, Any]:
    """Counts of the load, rows of the table, and pictures of what was loaded."""
    from marketdata_assets.ticks import plots

    units = [unit.unit for unit in loaded.units if unit.rows]
    pictures = plots.pictures(client, table, units) if units else {}
    return {
        **row_count(client, table),
        **{f"units_{name}": count for name, count in _counts(loaded).items()},
        "requests": loaded.requests,
        "seconds": round(loaded.seconds, 2),
        "providers": dg.MetadataValue.json(loaded.providers()),
        **{name: dg.MetadataValue.md(picture) for name, picture in pictures.items()},
    }


def _counts(loaded: LoadReport) -> dict[str, int]:
    counts = {outcome: loaded.count(outcome) for outcome in get_args(Outcome)}
    days = {f"{name}_days": sum(getattr(unit, name) for unit in loaded.units) for name in ("provisional", "incomplete")}
    return {**counts, "changed": sum(unit.changed for unit in loaded.units), **days}


def summary(done: Mapping[Table, LoadReport]) -> dict[str, Any]:
    """The load for the command line: by table the counts, the notes, and the failures with their causes."""
    symbols = {unit.symbol for loaded in done.values() for unit in loaded.units}
    failed = {unit.symbol for loaded in done.values() for unit in loaded.failed}
    return {
        "seconds": round(sum(loaded.seconds for loaded in done.values()), 2),
        "symbols": len(symbols),
        "symbols_failed": len(failed),
        "tables": dg.MetadataValue.json({table: _of_table(loaded) for table, loaded in done.items()}),
    }


def _of_table(loaded: LoadReport) -> dict[str, Any]:
    return {
        **_counts(loaded),
        "rows": loaded.rows,
        "rejected": loaded.rejected,
        "skipped": loaded.skipped,
        "requests": loaded.requests,
        "seconds": round(loaded.seconds, 2),
        "providers": loaded.providers(),
        "failures": [
            {"symbol": unit.symbol, "month": unit.month, "error": unit.error} for unit in loaded.failed[:MAX_FAILURES]
        ],
    }


def retry_outages(done: Mapping[Table, LoadReport]) -> None:
    """Have the step run again after a while when an outage of a provider or of the store made symbol-months fail."""
    failed = [unit for loaded in done.values() for unit in loaded.failed if unit.transient]
    if failed:
        retry_later(f"{len(failed)} symbol-months failed in an outage: {failed[0].unit}: {failed[0].error}")


def raise_failures(done: Mapping[Table, LoadReport], metadata: Mapping[str, Any]) -> None:
    """Raise Failure naming the failed symbol-months and unreadable files, if there are any; with `metadata`."""
    failed = {
        f"{table} {unit.unit}": f"{table} of {unit.unit}: {unit.error}"
        for table, loaded in done.items()
        for unit in loaded.failed
    }
    unreadable = list(dict.fromkeys(cause for loaded in done.values() for cause in loaded.unreadable))
    if unreadable:
        what = f"{len(failed)} symbol-months failed, and nothing of {len(unreadable)} files; the others are loaded"
        raise failure_of(what, [*unreadable, *failed.values()], metadata)
    if failed:
        raise failure(failed, sum(len(loaded.units) for loaded in done.values()), metadata)


def symbols(found: "RegistryReport", partitions_added: int, seconds: float) -> dg.MaterializeResult:
    """How many symbols there are, who named them, and which are new or gone."""
    metadata: dict[str, Any] = {
        "dagster/row_count": found.symbols,
        "partitions_added": partitions_added,
        "seconds": round(seconds, 2),
        **{f"symbols_{status}": count for status, count in found.statuses.items()},
        "sources": dg.MetadataValue.json(found.sources),
    }
    for name, some in (("added", found.added), ("vanished", found.vanished), ("removed", found.removed)):
        metadata[name] = len(some)
        if some:
            metadata[f"{name}_symbols"] = and_more(some, MAX_SYMBOLS)
    return dg.MaterializeResult(metadata=metadata)

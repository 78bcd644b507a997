"""What all assets have, and metadata for the UI: columns and rows of tables, files that were read.

The files and APIs outside of the project that assets are loaded from are assets too, a row each in `sources.csv`;
`source_lists.csv` has the requests to a source, or its files, below the names of its columns.
"""

import csv
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg

from marketdata_assets.stores.clients import Client

Column = tuple[str, str, str]
"""Name, type and meaning."""
Lineage = Mapping[str, Sequence[tuple[str, str]]]
"""By column: assets and columns that it is made of."""
LINEAGE = "dagster/column_lineage"

OWNERS = ["team:market-data"]
HOURLY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=26), warn_window=dt.timedelta(hours=3))
STREAMED = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=6), warn_window=dt.timedelta(hours=1))
RARE = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=7), warn_window=dt.timedelta(days=2))
TRADING_DAYS = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=12), warn_window=dt.timedelta(days=4))
WEEKDAYS = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=5), warn_window=dt.timedelta(days=3, hours=12))
"""How old what an asset was last given may be, where it has a rhythm of its own. Assets that wait for files, which come
when they come, have no policy of freshness. Exchanges close for up to eleven days in China."""
CADENCES = (
    (STREAMED, "streamed"),
    (RARE, "streamed"),
    (HOURLY, "hourly"),
    (TRADING_DAYS, "daily"),
    (WEEKDAYS, "daily"),
)
INLINE_COLUMNS = 3  # columns that fit where the UI shows values
INLINE_CHARACTERS = 1000
"""The UI shows shorter text inline, which truncates a wide table; longer text becomes a link to all of it."""


def column_schema(*columns: Column, table: str = "") -> dict[str, Any]:
    """The metadata with the columns, and with the name of the table when there is one."""
    listed = [dg.TableColumn(name, kind, description) for name, kind, description in columns]
    metadata: dict[str, Any] = {"dagster/column_schema": dg.TableSchema(listed)}
    return metadata | {"dagster/table_name": table} if table else metadata


def table_schema(asset: str, *, table: bool = True) -> dict[str, Any]:
    """The metadata with the columns of an asset from `columns.csv`; with the name of its table, unless it has none."""
    return column_schema(*_described_columns()[asset], table=asset if table else "")


def column_lineage(lineage: Lineage) -> dict[str, Any]:
    """The metadata that says which columns each column is made of."""
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(asset), upstream) for asset, upstream in found]
        for column, found in lineage.items()
    }
    return {LINEAGE: dg.TableColumnLineage(deps)}


def csv_rows(name: str) -> Iterable[Mapping[str, str]]:
    """The rows of a table beside this module."""
    return csv.DictReader(files(__package__).joinpath(name).read_text("utf-8").splitlines())


@cache
def _described_columns() -> dict[str, list[Column]]:
    columns: dict[str, list[Column]] = {}
    for row in csv_rows("columns.csv"):
        columns.setdefault(row["table"], []).append((row["column"], row["type"], row["meaning"]))
    return columns


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """Rows under the names of their columns; None is an empty cell."""
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    text = "\n".join(lines)
    return dg.MetadataValue.md(text if len(names) <= INLINE_COLUMNS else text.ljust(INLINE_CHARACTERS))


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def row_count(client: Client, table: str) -> dict[str, int]:
    """The metadata with the number of rows of a table in ClickHouse."""
    return {"dagster/row_count": int(client.command(f"SELECT count() FROM {table}"))}  # type: ignore[arg-type]


def observed_files(asset: str, folder: Path, paths: Iterable[Path]) -> dg.AssetObservation:
    """An observation of the files that a run has read; those deleted meanwhile are left out."""
    files = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue
        files.append((stat.st_mtime, stat.st_size, path))
    metadata: dict[str, dg.MetadataValue | int | str] = {
        "folder": dg.MetadataValue.path(folder),
        "files": len(files),
        "megabytes": round(sum(size for _, size, _ in files) / 1e6),
    }
    if files:
        modified, _, newest = max(files)
        metadata |= {"newest": newest.name, "modified": dg.MetadataValue.timestamp(modified)}
    return dg.AssetObservation(asset, metadata=metadata)


def spec(name: str, group: str, **options: Any) -> dg.AssetSpec:
    """As `dg.AssetSpec`; without `metadata` the asset is a table, whose columns are in `columns.csv`."""
    metadata = options.pop("metadata", None) or table_schema(name)
    return dg.AssetSpec(name, group_name=group, owners=OWNERS, metadata=metadata, **options)


def asset(group: str, **options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """As `dg.asset`, for a function that loads any partitions at once; columns as in `spec`."""

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        metadata = options.get("metadata") or table_schema(options.get("name", function.__name__))
        common = {"owners": OWNERS, "backfill_policy": dg.BackfillPolicy.single_run(), "metadata": metadata}
        return dg.asset(**options | common, group_name=group)(function)

    return declare


def _sources() -> Iterator[dg.AssetSpec]:
    lists: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for row in csv_rows("source_lists.csv"):
        lists.setdefault(row["source"], {}).setdefault(row["list"], []).append((row["name"], row["meaning"]))
    for row in csv_rows("sources.csv"):
        metadata = table_schema(row["columns"], table=False) if row["columns"] else {}
        metadata |= {name: row[name] for name in ("encoding", "example") if row[name]}
        for name, (heading, *rows) in lists.get(row["source"], {}).items():
            metadata[name] = markdown_table(heading, rows)
        kinds = {*row["kinds"].split()}
        yield spec(row["source"], row["group"], kinds=kinds, description=row["description"], metadata=metadata)


sources = [*_sources()]

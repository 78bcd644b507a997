"""What assets are loaded from, files and APIs outside of the project: a row each in `sources.csv`.

`source_lists.csv` has the requests to a source, or its files; the first row of a list has the names of its columns.
"""

from collections.abc import Iterator

import dagster as dg

from marketdata_assets.defs.flows import build
from marketdata_assets.defs.metadata import OWNERS, csv_rows, markdown_table, spec, table_schema
from marketdata_assets.flows import discovery


def _specs() -> Iterator[dg.AssetSpec]:
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


STOCK_DAILY = dg.AssetSpec(
    "stock_daily_files",
    group_name="flows",
    kinds={"file", "csv"},
    owners=OWNERS,
    description="Daily prices of A-shares, one CSV per stock with its whole history, as the vendor delivers them into"
    " `stock_daily` below `MARKETDATA_FLOWS_DATA`: GBK, a notice in line 1, 38 columns.",
)
"""The files that the shipped flows read; their columns are those of the flow."""


@dg.definitions
def defs() -> dg.Definitions:
    [schema] = [build.files_schema(one.flow) for one in discovery.shipped() if one.flow and one.name == "stock_daily"]
    return dg.Definitions(assets=[*_specs(), STOCK_DAILY.replace_attributes(metadata=schema)])

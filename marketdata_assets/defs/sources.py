"""What assets are loaded from, files and APIs outside of the project: a row each in `sources.csv`.

`source_lists.csv` has the requests to a source, or its files; the first row of a list has the names of its columns.
"""

from collections.abc import Iterator

import dagster as dg

from marketdata_assets.defs.metadata import csv_rows, markdown_table, spec, table_schema


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


sources = [*_specs()]

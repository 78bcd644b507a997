"""What all assets of the project have: an owner, their columns, and one run for the partitions of a backfill."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from marketdata_assets.defs.metadata import OWNERS, table_schema


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

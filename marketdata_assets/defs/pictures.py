"""When a picture of an asset is drawn again: drawing one costs most of a second, matplotlib's import included."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

HOUR = 3600.0

Metadata = Mapping[str, Any]


def last_metadata(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> Metadata:
    """The metadata of the last materialization, of a partition if one is given; empty without one."""
    wanted = dg.AssetRecordsFilter(key, asset_partitions=[partition] if partition else None)
    found = instance.fetch_materializations(wanted, limit=1).records
    event = found[0].asset_materialization if found else None
    return event.metadata if event else {}


def at_most_hourly(last: Metadata, name: str, draw: Callable[[], str | None], now: float) -> dict[str, Any]:
    """The last picture while it is younger than an hour, else a new one and when it was drawn, in epoch seconds."""
    at = f"{name}_drawn"
    if name in last and at in last and now - last[at].value < HOUR:
        return {name: last[name], at: last[at]}
    picture = draw()
    return {name: dg.MetadataValue.md(picture), at: dg.MetadataValue.timestamp(now)} if picture else {}


def when_changed(last: Metadata, name: str, shown: Mapping[str, Any], draw: Callable[[], str | None]) -> dict[str, Any]:
    """The last picture while the figures that it shows are the same, else a new one."""
    if name in last and all(key in last and last[key].value == _plain(value) for key, value in shown.items()):
        return {name: last[name]}
    picture = draw()
    return {name: dg.MetadataValue.md(picture)} if picture else {}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, dg.MetadataValue) else value

"""What a run has to read: the files of a flow held against the ledger, by a look at each file's size and time only."""

from collections.abc import Collection, Sequence
from pathlib import Path

import psycopg

from marketdata_assets.flows import claims
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.units import Unit, find
from marketdata_assets.stores import ledger


def units(flow: FlowDefinition, folder: Path) -> list[Unit]:
    """The flow's units below the data folder, the biggest first. Raises NoFolder."""
    return find(flow.loader, folder)


def placed(flow: FlowDefinition, data_dir: str, data: Path) -> tuple[FlowDefinition, Path]:
    """The flow and its data folder `data`; a `data_dir` takes their place, as the folder of the files itself."""
    if not data_dir:
        return flow, data
    loader = flow.loader.model_copy(update={"folder": "."})
    return flow.model_copy(update={"loader": loader}), Path(data_dir).absolute()


def asked(flow: FlowDefinition, folder: Path, names: Collection[str]) -> list[str]:
    """Of the units `names`, those whose files are there."""
    there = {unit.name for unit in units(flow, folder)}
    return [name for name in names if name in there]


def stale(connection: psycopg.Connection, flow: FlowDefinition, folder: Path, version: str) -> list[Unit]:
    """The units that a run would read: new, failed, made by another version, or changed since."""
    return _stale(connection, flow, units(flow, folder), version)


def _stale(connection: psycopg.Connection, flow: FlowDefinition, found: Sequence[Unit], version: str) -> list[Unit]:
    states = claims.states(connection, flow.dataset)
    stands = {
        entry.unit: entry.content_hash
        for entry in ledger.entries(connection, flow.dataset)
        if entry.outcome in ("ok", "empty") and (entry.code_version == version or flow.target.mode == "append")
    }
    return [unit for unit in found if not _same(unit, states, stands)]


def _same(
    unit: Unit, states: dict[str, tuple[int | None, int | None, str | None]], stands: dict[str, str | None]
) -> bool:
    size, modified, content = states.get(unit.name, (None, None, None))
    return (
        content is not None and (size, modified) == (unit.size, unit.modified_ns) and stands.get(unit.name) == content
    )


def tasks(
    connection: psycopg.Connection,
    flow: FlowDefinition,
    found: Sequence[Unit],
    version: str,
    only: Collection[str] | None,
    force: bool,
) -> tuple[list[Unit], int]:
    """The units to read, of `only` those names when given; and how many need not be."""
    asked = [unit for unit in found if only is None or unit.name in only]
    todo = asked if force else _stale(connection, flow, asked, version)
    return todo, len(asked) - len(todo)

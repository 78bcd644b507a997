"""Where flows find targets outside Postgres, by the environment or the running local stack."""

from collections.abc import Collection
from pathlib import Path

from marketdata_assets.flows import discovery
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.discovery import Check, FlowFile
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings


def placed(flow: FlowDefinition) -> FlowDefinition:
    """The flow, which finds a target outside Postgres by the settings; raises NoServer then, when nothing names one."""
    if flow.target.kind != "clickhouse":
        return flow
    return flow.at(lambda: endpoints.address(Settings(), "clickhouse_url"))


def found(folder: Path, taken: Collection[str] = (), check: Check | None = None) -> list[FlowFile]:
    """The flows of the package, and those of a folder whose names are not `taken`; see `discovery.find`."""
    shipped = discovery.shipped()
    names = {*taken, *(flow.name for flow in shipped)}
    return [*shipped, *(one.map(placed) for one in discovery.find(folder, names, check))]


def readable(folder: Path) -> list[FlowDefinition]:
    """The definitions of all of them that can be read."""
    return [one.flow for one in found(folder) if one.flow]

"""Where flows find targets outside Postgres, by the environment or the running local stack."""

from dataclasses import dataclass

from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings


@dataclass(frozen=True)
class FromSettings:
    """Addresses that are looked up each time; raises NoServer when nothing names one."""

    @property
    def clickhouse_url(self) -> str:
        """The database of the flow's table."""
        return endpoints.address(Settings(), "clickhouse_url")


def placed(flow: FlowDefinition) -> FlowDefinition:
    """The flow, which finds a target outside Postgres by the settings."""
    return flow.at(FromSettings()) if flow.target.kind == "clickhouse" else flow

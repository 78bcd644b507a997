"""ClickHouse over HTTP: where ticks and exchange records land."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from marketdata_assets.local import endpoints
from marketdata_assets.resources.health import Health, examine, median_ms
from marketdata_assets.secret_values import without_password
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse_address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NODE_PROBES = 4
"""Connections on which doctor asks which node answers."""


class ClickHouse(dg.ConfigurableResource):
    """A ClickHouse server. An empty `url` means MARKETDATA_CLICKHOUSE_URL, else the running local stack."""

    url: str = ""

    @property
    def dsn(self) -> str:
        """The connection string; raises NoServer when nothing names one."""
        return self.url or endpoints.address(Settings(), "clickhouse_url")

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """A client that is closed on leaving."""
        from marketdata_assets.stores.clickhouse import connect

        with connect(self.dsn) as client:
            yield client

    def check(self) -> Health:
        """Ask for the version, the latency of a query, and what the server is: one node, a replica of a cluster."""
        return examine("clickhouse_url", self.url, _ask)


def _ask(url: str) -> Health:
    from marketdata_assets.stores import clickhouse_cluster

    address, cluster = clickhouse_address.split(url)
    nodes: set[str] = set()  # a load balancer distributes connections or requests
    for _ in range(NODE_PROBES):
        with _client(address) as client:
            nodes |= {clickhouse_cluster.node_of(client) for _ in range(2)}
    with _client(address) as client:
        server = clickhouse_cluster.examine(client, cluster)
        problems = clickhouse_cluster.problems(server)
        latency = median_ms(lambda: client.command("SELECT 1"))
        writer = clickhouse_cluster.writer(client, cluster) if cluster and not problems else ""
    if len(nodes) > 1:
        remedy = "set MARKETDATA_CLICKHOUSE_URL to one of them instead of a load balancer"
        problems.append((f"the address is answered by {len(nodes)} nodes: {', '.join(sorted(nodes))}", remedy))
    elif writer and writer not in nodes:
        remedy = f"set MARKETDATA_CLICKHOUSE_URL to {writer}; to read here, leave MARKETDATA_CLICKHOUSE_CLUSTER unset"
        problems.append((f"{writer} is the writing node of cluster {cluster}, and this is {', '.join(nodes)}", remedy))
    edition = f"cluster {cluster}, replicas: {len(server.replicas)}" if cluster else "HTTP"
    missing, remedies = tuple(fact for fact, _ in problems), tuple(remedy for _, remedy in problems)
    shown = without_password(address)
    return Health("ClickHouse", not problems, shown, server.version, edition, latency, missing, "; ".join(remedies))


@contextmanager
def _client(address: str) -> Iterator["Client"]:
    from marketdata_assets.stores import clickhouse

    client = clickhouse.opened(address, {"connect_timeout": 3}, own_pool=True)
    try:
        yield client
    finally:
        client.close()

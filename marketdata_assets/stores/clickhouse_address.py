"""The address of a ClickHouse server, which also carries the name of its cluster, so all clients know it.

How a client of a cluster differs from one of a server is in `clickhouse_cluster`.
"""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from marketdata_assets.stores.errors import UnsupportedServer

PARAMETER = "cluster"
_CLUSTER = re.compile(r"[A-Za-z0-9_.-]+")


def with_cluster(url: str | None, cluster: str | None) -> str | None:
    """The address of a server with the name of its cluster, which `split` takes off."""
    if not url or not cluster or any(name == PARAMETER for name, _ in parse_qsl(urlsplit(url).query)):
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), (PARAMETER, cluster)])))


def split(url: str) -> tuple[str, str]:
    """The address that a client takes, and the name of the cluster, empty for none. Raises UnsupportedServer."""
    parts = urlsplit(url)
    found = parse_qsl(parts.query, keep_blank_values=True)
    cluster = next((value for name, value in found if name == PARAMETER), "")
    if not cluster:
        return url, ""
    if not _CLUSTER.fullmatch(cluster):
        fact = f"MARKETDATA_CLICKHOUSE_CLUSTER is {cluster!r}, which is no name of a cluster"
        raise UnsupportedServer(fact, "use letters, digits, _, - and .")
    rest = urlencode([(name, value) for name, value in found if name != PARAMETER])
    return urlunsplit(parts._replace(query=rest)), cluster

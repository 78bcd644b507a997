"""What can go wrong between a process and a store: a retry may help when it is unavailable, not when it is full."""

from marketdata_assets.errors import TerminalError, TransientError


class StoreAway(TransientError):
    """The server does not answer, or closed the connection."""

    def __init__(self, store: str, cause: str) -> None:
        self.store = store
        self.cause = cause.strip()
        super().__init__(
            f"{store} is not answering ({self.cause}). Nothing of the current unit is committed; "
            f'start the server ("marketdata doctor" names what is missing) and run the same partitions again.'
        )


class StoreFull(TerminalError):
    """The server ran out of disk space; what was half written is rolled back."""

    def __init__(self, store: str, cause: str) -> None:
        self.store = store
        self.cause = cause.strip()
        super().__init__(
            f"{store} has no disk space left ({self.cause}). The current unit is rolled back; "
            f"free space on the server's volume and run the same partitions again."
        )


class UnencodableValue(TerminalError):
    """A value does not fit the wire format of its column."""


class UnsupportedServer(TerminalError):
    """A ClickHouse server, or a setting of it, with which loads are not proven to be right. Nothing was written."""

    def __init__(self, fact: str, remedy: str) -> None:
        self.fact, self.remedy = fact, remedy
        super().__init__(f"ClickHouse: {fact}. This is not supported; {remedy}. See docs/how-to/more-machines.md.")


class NotTheWriter(TerminalError):
    """A node of a ClickHouse cluster that is not the writing node. Nothing was written."""

    def __init__(self, cluster: str, writer: str) -> None:
        self.cluster, self.writer = cluster, writer
        node = f"{writer} is" if writer else "another node, which does not answer, is"
        super().__init__(
            f"ClickHouse: {node} the writing node of cluster {cluster}, the only one that is written to. Set"
            f" MARKETDATA_CLICKHOUSE_URL to it; to read from this node, leave MARKETDATA_CLICKHOUSE_CLUSTER unset."
            f" docs/how-to/more-machines.md says how another node becomes the writing node."
        )


class SeveralNodes(TerminalError):
    """One address is answered by several nodes of a ClickHouse cluster, as behind a load balancer."""

    def __init__(self, first: str | None, other: str | None) -> None:
        self.first, self.other = first, other
        super().__init__(
            f"ClickHouse: one address was answered by {first or 'a node without a name'} and by"
            f" {other or 'a node without a name'}. Set MARKETDATA_CLICKHOUSE_URL to one node instead of a load"
            f" balancer, and run the same partitions again."
        )

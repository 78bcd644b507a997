"""What a caller of the connections can do wrong; what networks and venues do wrong is lived with, not raised.

MarketDataError
└── TerminalError
    └── CollectorError
        └── ConnectionsError
            ├── UnknownSymbols   no instrument of the venue's list is called so
            ├── UnknownDataTypes a venue's market has no such data
            ├── BadShard         a shard is not i/n
            └── NotListed        the venue's list of instruments did not come yet
"""

from collections.abc import Sequence

from marketdata_assets.collector.errors import CollectorError


class ConnectionsError(CollectorError):
    """A market cannot be collected as it was asked for."""


class UnknownSymbols(ConnectionsError):
    """No instrument of the venue's list is called so."""

    def __init__(self, market: str, symbols: Sequence[str]) -> None:
        self.symbols = list(symbols)
        super().__init__(
            f"{market}: nothing that is traded there is called {', '.join(symbols)}. "
            "Give the venue's own name, or BASE-QUOTE."
        )


class UnknownDataTypes(ConnectionsError):
    """A venue's market has no such data."""

    def __init__(self, market: str, unknown: Sequence[str], known: Sequence[str]) -> None:
        self.unknown = list(unknown)
        super().__init__(f"{market}: no data called {', '.join(unknown)}. Known are {', '.join(known)}.")


class BadShard(ConnectionsError):
    """A shard is not i/n."""

    def __init__(self, text: str) -> None:
        super().__init__(f"shard {text!r}: write i/n with 1 <= i <= n, as 1/2.")


class NotListed(ConnectionsError):
    """The venue's list of instruments did not come yet."""

    def __init__(self, market: str, cause: str) -> None:
        super().__init__(f"{market}: the list of instruments did not come yet ({cause}). Try again in some seconds.")

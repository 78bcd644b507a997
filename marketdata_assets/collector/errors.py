"""What can go wrong with the collector that a person has to mend.

MarketDataError
└── TerminalError
    └── CollectorError
        ├── BadServer      the address of a server cannot be used
        ├── NoSink         a sink is asked for that has no server, or there is none at all
        ├── NotCollected   a market is asked about that the configuration does not have
        ├── PortTaken      the collector cannot listen where it shall
        └── MissingExtra   what the collector needs is not installed
"""

from collections.abc import Sequence

from marketdata_assets.errors import TerminalError


class CollectorError(TerminalError):
    """The collector cannot begin, or cannot go on."""


class BadServer(CollectorError):
    """The address of a server cannot be used; it is not shown, as it may hold a password."""

    def __init__(self, key: str, form: str) -> None:
        self.key = key
        super().__init__(f"MARKETDATA_{key.upper()}, or {key} in the file of secrets, must be a URL such as {form}.")


class NoSink(CollectorError):
    """A sink is asked for that has no server, or there is none at all."""

    def __init__(self, key: str, cause: str) -> None:
        self.key = key
        super().__init__(f"{key}: {cause}")


class NotCollected(CollectorError):
    """A market is asked about that the configuration does not have."""

    def __init__(self, market: str, known: Sequence[str]) -> None:
        self.market = market
        super().__init__(f"{market} is not collected; the configuration has {', '.join(known)}.")


class PortTaken(CollectorError):
    """The collector cannot listen where it shall."""

    def __init__(self, host: str, port: int, cause: str) -> None:
        self.port = port
        super().__init__(
            f"{host}:{port}: {cause}. Stop the program that has it, or set HTTP_PORT to another (0 takes a free one)."
        )


class MissingExtra(CollectorError):
    """What the collector needs is not installed."""

    def __init__(self, module: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'marketdata-assets[live]'")

"""What can go wrong with the collector that a person has to mend.

MarketDataError
└── TerminalError
    └── CollectorError
        ├── BadConfig      the configuration cannot be used
        ├── BadSecrets     the file of secrets cannot be used
        ├── NoSink         there is nowhere to put what is collected
        └── PortTaken      another program listens where the collector shall
"""

from marketdata_assets.errors import TerminalError


class CollectorError(TerminalError):
    """The collector cannot begin, or cannot go on."""


class BadConfig(CollectorError):
    """The configuration cannot be used."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}")


class BadSecrets(CollectorError):
    """The file of secrets cannot be used."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}")


class NoSink(CollectorError):
    """There is nowhere to put what is collected."""

    def __init__(self, sink: str, cause: str) -> None:
        self.sink = sink
        super().__init__(f"{sink}: {cause}")


class PortTaken(CollectorError):
    """Another program listens where the collector shall."""

    def __init__(self, host: str, port: int) -> None:
        self.port = port
        super().__init__(
            f"{host}:{port} is in use. Stop the program that has it, or set HTTP_PORT (0 takes a free one)."
        )

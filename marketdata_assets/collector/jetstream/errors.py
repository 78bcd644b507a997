"""What can go wrong between the collector and JetStream.

MarketDataError
├── TerminalError
│   ├── BadAddress         a NATS URL cannot be used
│   ├── StreamConflict     a stream or consumer is there whose settings cannot be changed to ours
│   ├── StreamMissing      a stream or consumer that is read is not there
│   └── SpoolBusy          another process has the spool's folder
└── TransientError
    ├── NatsAway           the server cannot be reached, or went away
    ├── NatsRefused        the server does not want us, or what we ask
    ├── NotAlone           another reader takes messages of the same consumer
    └── SpoolFull          the spool has no room: its own limit, or the disk
"""

from marketdata_assets.errors import TerminalError, TransientError


class BadAddress(TerminalError):
    """A NATS URL cannot be used."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"the URL of NATS cannot be used: {cause}. It is nats://HOST:PORT, or tls:// for TLS.")


class StreamConflict(TerminalError):
    """A stream or consumer is there whose settings cannot be changed to ours."""

    def __init__(self, what: str, cause: str) -> None:
        self.what = what
        super().__init__(
            f"{what}: {cause}. NATS cannot change that; read what is in it, delete it, or configure another name."
        )


class StreamMissing(TerminalError):
    """A stream or consumer that is read is not there."""

    def __init__(self, what: str, cause: str) -> None:
        self.what = what
        super().__init__(f"{what}: not there, {cause}. Start the collector with JetStream once, which makes it.")


class SpoolBusy(TerminalError):
    """Another process has the spool's folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"{folder}: another process has this spool. Stop it, or give each collector its own folder.")


class NatsAway(TransientError):
    """The server cannot be reached, or went away."""

    def __init__(self, server: str, cause: str) -> None:
        self.server = server
        super().__init__(f"{server}: {cause}. It is tried again until it answers.")


class NatsRefused(TransientError):
    """The server does not want us, or what we ask."""

    def __init__(self, server: str, answer: str) -> None:
        self.server = server
        super().__init__(f"{server}: refused, {answer}. Look at the server's accounts and limits; it is tried again.")


class NotAlone(TransientError):
    """Another reader takes messages of the same consumer."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what}: another reader took messages of it. Nothing is lost; run one drain at a time.")


class SpoolFull(TransientError):
    """The spool has no room: its own limit, or the disk."""

    def __init__(self, folder: str, cause: str) -> None:
        self.folder = folder
        super().__init__(
            f"{folder}: no room for more, {cause}. What the queue cannot keep becomes gaps until there is."
        )

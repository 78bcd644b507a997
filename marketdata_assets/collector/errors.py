"""Errors of the collector that a person has to act on, or that a caller retries.

MarketDataError
├── TerminalError
│   └── CollectorError
│       ├── BadServer          the URL of a server is invalid
│       ├── BadAddress         the URL of NATS cannot be parsed
│       ├── BadShard           a shard is not i/n
│       ├── NoSink             a sink has no server, or no sink is enabled
│       ├── NotCollected       a market is not in the configuration
│       ├── UnknownSymbols     the venue lists no instrument with such a name
│       ├── UnknownDataTypes   a market has no such data type
│       ├── NotListed          the venue's instrument list has not arrived yet
│       ├── PortTaken          the HTTP port is in use
│       ├── MissingExtra       an optional dependency is not installed
│       ├── StreamConflict     an existing stream or consumer has settings that NATS cannot change
│       ├── StreamMissing      a stream or consumer does not exist
│       └── SpoolBusy          another process uses the spool folder
└── TransientError
    ├── NatsUnavailable        the server cannot be reached, or the connection broke
    ├── NatsRejected           the server rejected the login or the request
    ├── ConcurrentReader       another reader takes messages of the same consumer
    └── SpoolFull              the spool reached its limit, or the disk is full

What networks and venues do wrong is handled by reconnecting and recorded as gaps; it is not raised.
"""

from collections.abc import Sequence

from marketdata_assets.errors import TerminalError, TransientError


class CollectorError(TerminalError):
    """The collector cannot start or continue."""


class BadServer(CollectorError):
    """The URL of a server is invalid; it is not shown, as it may hold a password."""

    def __init__(self, key: str, form: str) -> None:
        self.key = key
        super().__init__(f"MARKETDATA_{key.upper()}, or {key} in the secrets file, must be a URL such as {form}.")


class BadAddress(CollectorError):
    """The URL of NATS cannot be parsed; it is not shown, as it may hold a password."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"the NATS URL is invalid: {cause}. Expected nats://HOST:PORT, or tls://HOST:PORT for TLS.")


class BadShard(CollectorError):
    """A shard is not i/n."""

    def __init__(self, text: str) -> None:
        super().__init__(f"shard {text!r}: expected i/n with 1 <= i <= n, such as 1/2.")


class NoSink(CollectorError):
    """A sink is enabled that has no server, or no sink is enabled."""

    def __init__(self, key: str, cause: str) -> None:
        self.key = key
        super().__init__(f"{key}: {cause}")


class NotCollected(CollectorError):
    """A market is not in the configuration."""

    def __init__(self, market: str, known: Sequence[str]) -> None:
        self.market = market
        super().__init__(f"{market} is not collected; the configuration has {', '.join(known)}.")


class UnknownSymbols(CollectorError):
    """The venue lists no instrument with such a name."""

    def __init__(self, market: str, symbols: Sequence[str]) -> None:
        self.symbols = list(symbols)
        super().__init__(
            f"{market}: no instrument called {', '.join(symbols)} is listed. Give the venue's own name, or BASE-QUOTE."
        )


class UnknownDataTypes(CollectorError):
    """A market has no such data type."""

    def __init__(self, market: str, unknown: Sequence[str], known: Sequence[str]) -> None:
        self.unknown = list(unknown)
        super().__init__(f"{market}: no data type called {', '.join(unknown)}. Available: {', '.join(known)}.")


class NotListed(CollectorError):
    """The venue's instrument list has not arrived yet."""

    def __init__(self, market: str, cause: str) -> None:
        super().__init__(f"{market}: the instrument list has not arrived yet ({cause}). Retry in a few seconds.")


class PortTaken(CollectorError):
    """The HTTP port is in use."""

    def __init__(self, host: str, port: int, cause: str) -> None:
        self.port = port
        super().__init__(
            f"{host}:{port}: {cause}. Stop the program that uses it, or set HTTP_PORT to another (0: any free port)."
        )


class MissingExtra(CollectorError):
    """An optional dependency is not installed."""

    def __init__(self, module: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'marketdata-assets[live]'")


class StreamConflict(CollectorError):
    """An existing stream or consumer has settings that NATS cannot change to the configured ones."""

    def __init__(self, what: str, cause: str) -> None:
        self.what = what
        super().__init__(
            f"{what}: {cause}. NATS cannot change this setting: drain and delete it, or configure another name."
        )


class StreamMissing(CollectorError):
    """A stream or consumer does not exist."""

    def __init__(self, what: str, cause: str) -> None:
        self.what = what
        super().__init__(
            f"{what}: not found ({cause}). It is created when the collector starts with JetStream enabled."
        )


class SpoolBusy(CollectorError):
    """Another process uses the spool folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"{folder}: another process uses this spool. Stop it, or give each collector its own folder.")


class NatsUnavailable(TransientError):
    """The server cannot be reached, or the connection broke."""

    def __init__(self, server: str, cause: str) -> None:
        self.server = server
        super().__init__(f"NATS at {server} is unavailable: {cause}. Retried until it responds.")


class NatsRejected(TransientError):
    """The server rejected the login or the request."""

    def __init__(self, server: str, answer: str) -> None:
        self.server = server
        super().__init__(f"NATS at {server} rejected the request: {answer}. Check its accounts and limits; retried.")


class ConcurrentReader(TransientError):
    """Another reader takes messages of the same consumer."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what}: another reader takes its messages. Nothing is lost; run one drain at a time.")


class SpoolFull(TransientError):
    """The spool reached its limit, or the disk is full."""

    def __init__(self, folder: str, cause: str) -> None:
        self.folder = folder
        super().__init__(
            f"{folder}: the spool cannot take more: {cause}. Records that do not fit in the queue become gaps."
        )

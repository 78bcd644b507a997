"""Errors of the collector that a person has to act on, or that a caller retries.

What networks and venues do wrong is handled by reconnecting and recorded as gaps; it is not raised.
"""

from collections.abc import Mapping

from marketdata_assets.errors import TerminalError, TransientError


class CollectorError(TerminalError):
    """The collector cannot start or continue: a setting, an address or an option is wrong, or something is missing."""


class NotCollected(CollectorError):
    """A market is not in the configuration."""


class UnknownSymbols(CollectorError):
    """The venue trades no instrument with such a name, or several; `problems` says by symbol which."""

    def __init__(self, market: str, problems: Mapping[str, str]) -> None:
        self.symbols = list(problems)
        causes = "; ".join(f"{symbol} {why}" for symbol, why in problems.items())
        super().__init__(f"{market}: {causes}. Give the venue's own name, or BASE-QUOTE.")


class NotListed(CollectorError):
    """The venue's instrument list has not arrived yet."""


class PortTaken(CollectorError):
    """The HTTP port is in use."""


class StreamMissing(CollectorError):
    """A stream or consumer does not exist."""

    def __init__(self, what: str, cause: str) -> None:
        super().__init__(
            f"{what}: not found ({cause}). It is created when the collector starts with JetStream enabled."
        )


class NatsUnavailable(TransientError):
    """The server cannot be reached, or the connection broke."""

    def __init__(self, server: str, cause: str) -> None:
        super().__init__(f"NATS at {server} is unavailable: {cause}. Retried until it responds.")


class NatsRejected(TransientError):
    """The server rejected the login or the request."""

    def __init__(self, server: str, answer: str) -> None:
        super().__init__(f"NATS at {server} rejected the request: {answer}. Check its accounts and limits; retried.")


class Claimed(TransientError):
    """Another process does this work now."""

    def __init__(self, what: str, owner: str) -> None:
        self.owner = owner
        super().__init__(f"{what}: in progress by {owner}. Nothing is lost; stop that process to do it here.")


class SpoolFull(TransientError):
    """The spool reached its limit, or the disk is full."""

    def __init__(self, folder: str, cause: str) -> None:
        super().__init__(
            f"{folder}: the spool cannot take more: {cause}. Records that do not fit in the queue become gaps."
        )

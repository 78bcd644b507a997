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


class LoginRejected(TerminalError):
    """The server answers, and lets nobody in with this user, password and database."""

    def __init__(self, store: str, cause: str) -> None:
        self.store = store
        self.cause = cause.strip()
        super().__init__(
            f"{store} rejects the login ({self.cause}). Correct user, password and database of its address; "
            f'"marketdata doctor" names the variable.'
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


class UnsupportedServer(TerminalError):
    """A ClickHouse server, or a setting of it, with which loads are not proven to be right. Nothing was written."""

    def __init__(self, fact: str, remedy: str) -> None:
        self.fact, self.remedy = fact, remedy
        super().__init__(f"ClickHouse: {fact}. This is not supported; {remedy}. See docs/scale.md.")

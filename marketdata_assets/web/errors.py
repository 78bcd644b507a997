"""Why the web page shows no answer, as one sentence with the value and the remedy."""

from marketdata_assets.errors import TerminalError, TransientError


class UnknownCode(TerminalError):
    """A stock of which no minute bar is loaded."""

    def __init__(self, code: str) -> None:
        super().__init__(
            f"no minute bars of {code!r} are loaded. Search for its code, such as 600000.SH, or its name; or load it:"
            " marketdata ingest bars."
        )


class BadParameter(TerminalError):
    """A parameter in the address of a page that is not of its kind."""

    def __init__(self, name: str, value: str, remedy: str) -> None:
        super().__init__(f"{name}={value!r} {remedy}")


class TooSlow(TransientError):
    """A statement that the server ended because it took too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Postgres had no answer within {seconds:g} s. Wait until the loads in progress have ended, ask for fewer"
            ' days, or see what the server is doing: "marketdata doctor".'
        )

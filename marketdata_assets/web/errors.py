"""Why the web page shows no answer, as one sentence with the value and the remedy."""

from typing import Literal

from marketdata_assets.errors import TerminalError, TransientError

Cause = Literal["permission", "login", "schema", "limit", "other"]

REMEDIES: dict[Cause, str] = {
    "permission": "Grant the user in {variable} the right to read it.",
    "login": "Correct user, password and database in {variable}.",
    "schema": 'Its tables are not those of the project, or incomplete; run "marketdata create-tables" and a load.',
    "limit": "Ask for less: fewer days, or an instant closer to a recorded whole book.",
    "other": 'See the log of "marketdata web", and that of the server.',
}


class Unknown(TerminalError):
    """A stock, instrument or symbol of which nothing is loaded."""


class BadParameter(TerminalError):
    """A parameter in the address of a page that is not of its kind."""

    def __init__(self, name: str, value: str, remedy: str) -> None:
        super().__init__(f"{name}={value!r} {remedy}")


class TooSlow(TransientError):
    """A statement that the server ended because it took too long, or an answer that was not waited for."""

    def __init__(self, store: str, seconds: float) -> None:
        super().__init__(
            f"{store} had no answer within {seconds:g} s. Wait until the loads in progress have ended, ask for fewer"
            ' days, or see what the server is doing: "marketdata doctor".'
        )


class NotCreated(TerminalError):
    """A table that does not exist, and that this page, which only reads, does not create."""

    def __init__(self, store: str) -> None:
        super().__init__(
            f"{store} lacks a table of this part: nothing of it was ever loaded there. Load something, or run"
            ' "marketdata status", which creates missing tables.'
        )


class QueryFailed(TerminalError):
    """A server that answers, but not with rows: the user may not read a table, or the table is another."""

    def __init__(self, store: str, text: str, cause: Cause, variable: str) -> None:
        remedy = REMEDIES[cause].format(variable=variable)
        super().__init__(f"{store} rejected the query: {text}. {remedy}")

"""What can go wrong between a source of reference data and its table."""

from collections.abc import Sequence

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores.bookkeeping import Reject

FOLDER_VARIABLE = "MARKETDATA_REFERENCE_DIR"


class BadReferenceFile(TerminalError):
    """A dropped file of reference data cannot be read."""

    def __init__(self, place: str, cause: str, first: Sequence[Reject] = ()) -> None:
        self.first = tuple(first)
        """The first of its rows that are wrong."""
        super().__init__(
            f"{place}: {cause}. Nothing of the file is loaded, the others are; correct it and load it again."
        )


class NotOffered(TerminalError):
    """The account may not use an interface."""

    def __init__(self, provider: str, table: str, answer: str) -> None:
        super().__init__(
            f"{provider} does not offer {table} to this account ({answer}). Buy the permission, or drop files of"
            f" {table} into {FOLDER_VARIABLE}."
        )


class NoReferenceSource(TerminalError):
    """Neither a provider nor a file has a table."""

    def __init__(self, table: str) -> None:
        super().__init__(
            f"{table}: no provider is set up and no file is dropped, so it stays as it is. Set TUSHARE_TOKEN, or drop"
            f" {table}.csv into {FOLDER_VARIABLE}."
        )


class IncompleteAnswer(TerminalError):
    """A source names far fewer instruments than are known."""

    def __init__(self, table: str, source: str, what: str) -> None:
        super().__init__(
            f"{table}: {source} {what}. The table is unchanged; load it again when the source is complete, or drop a"
            f" complete {table}.csv into {FOLDER_VARIABLE}."
        )

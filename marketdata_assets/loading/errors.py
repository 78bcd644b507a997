"""What can be wrong with a delivered file, whatever its domain. Errors of one domain's files are LoadErrors as well."""

from collections.abc import Sequence

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores.bookkeeping import Reject


class LoadError(TerminalError):
    """A unit cannot be loaded until a person acts; other units can."""


class BadFile(LoadError):
    """A file, or a member of a zip, cannot be read to its end."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        self.cause = cause
        super().__init__(f"{place}: {cause}. Deliver the file again; rows loaded from it before are kept.")


class BadHeader(LoadError):
    """The header line does not name the columns."""

    def __init__(self, place: str, line: int, cause: str, remedy: str) -> None:
        self.place = place
        super().__init__(f"{place}:{line}: {cause}. {remedy}")


class WrongEncoding(LoadError):
    """The bytes are not text in the expected encoding. `remedy` is an imperative sentence."""

    def __init__(self, place: str, line: int, encoding: str, cause: str, remedy: str) -> None:
        self.place = place
        super().__init__(f"{place}:{line}: not {encoding} ({cause}). {remedy}")


class TooManyRejects(LoadError):
    """More rows are rejected than the limit allows, so the whole file is rejected; the `first` go to quarantine."""

    def __init__(
        self,
        place: str,
        rejected: int,
        rows: int,
        limit: object,
        examples: Sequence[str],
        remedy: str = "",
        first: Sequence[Reject] = (),
    ) -> None:
        self.place = place
        self.first = tuple(first)
        self.rejected = rejected
        self.rows = rows
        super().__init__(
            f"{place}: {rejected} of {rows} rows rejected, over the limit of {limit}, so nothing of the file is loaded."
            f" First: {'; '.join(examples)}. {remedy or 'Correct the file and deliver it again.'}"
        )

"""What can be wrong with a delivered file, whatever its domain. Errors of one domain's files are LoadErrors as well."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from marketdata_assets.errors import TerminalError, did_you_mean
from marketdata_assets.stores.bookkeeping import Reject


class LoadError(TerminalError):
    """A unit cannot be loaded until a person acts; other units can."""

    cause = ""
    """What is wrong, without the place and the remedy, where it can be told apart."""


class BadFile(LoadError):
    """A file, or a member of a zip, cannot be read to its end; without another `remedy` it is to be delivered again."""

    def __init__(self, place: str, cause: str, remedy: str = "") -> None:
        self.place = place
        self.cause = cause
        remedy = remedy[:1].upper() + remedy[1:] or "Deliver the file again"
        super().__init__(f"{place}: {cause}. {remedy}; rows loaded from it before are kept.")


class CannotForget(LoadError):
    """A file is not forgotten, or not remembered."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}")

    @classmethod
    def unknown(cls, domain: str, file: str, folder: Path, known: Iterable[str]) -> "CannotForget":
        """There is nothing to forget of it."""
        cause = f"no such file in {folder}, and nothing of it is loaded; {did_you_mean(file, known)}"
        return cls(f"{domain}: {file}", cause)

    @classmethod
    def remembered(cls, domain: str, file: str, forgotten: Iterable[str]) -> "CannotForget":
        """It was not forgotten."""
        return cls(f"{domain}: {file}", f"it is not forgotten; {did_you_mean(file, forgotten)}")


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
        self.first = tuple(first)
        super().__init__(
            f"{place}: {rejected} of {rows} rows rejected, over the limit of {limit}, so nothing of the file is loaded."
            f" First: {'; '.join(examples)}. {remedy or 'Correct the file and deliver it again.'}"
        )

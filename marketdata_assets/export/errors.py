"""What can go wrong when bars or records are exported."""

from collections.abc import Sequence
from pathlib import Path

from marketdata_assets.errors import TerminalError, TransientError


class AnotherExport(TerminalError):
    """The folder has another export, such as bars of another frequency or records in another layout."""

    def __init__(self, folder: Path, found: str, wanted: str) -> None:
        super().__init__(f"{folder} has an export of {found}; export {wanted} to another folder, or delete this one")


class ExportRunning(TransientError):
    """Another process is exporting to the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another export to {folder} is in progress; try again when it has ended")


class UnknownFormat(TerminalError):
    """The suffix of a file is no format."""

    def __init__(self, file: Path, known: Sequence[str]) -> None:
        super().__init__(f"{file}: a file of alphas ends in {' or '.join(known)}, which is its format")


class LayoutLacks(TerminalError):
    """A layout has no place for a type of records."""

    def __init__(self, layout: str, types: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(
            f"the layout {layout} has no {', '.join(types)}; it has {', '.join(known)}. Use the layout plain."
        )


class CannotExport(TerminalError):
    """One file cannot be written; the others can."""


class OutOfOrder(CannotExport):
    """An event was received too late to be put in the order of the venue's time."""

    def __init__(self, what: str, seconds: int) -> None:
        super().__init__(
            f"{what}: an event was received more than {seconds} s after a later one. Use the layout plain."
        )

"""What can go wrong when bars or records are exported."""

from collections.abc import Sequence
from pathlib import Path

from marketdata_assets.errors import TerminalError


class UnknownFormat(TerminalError):
    """The suffix of a file is no format."""

    def __init__(self, file: Path, known: Sequence[str]) -> None:
        super().__init__(f"{file}: a file of alphas ends in {' or '.join(known)}, which is its format")


class CannotExport(TerminalError):
    """One file cannot be written; the others can."""

"""What goes wrong with backups.

TerminalError
├── FolderInUse      the folder that a backup would be written to is not empty
├── NoBackup         the folder has no complete backup
├── BadBackup        a file of the backup is missing or was changed
├── NotEmpty         the tables to be restored already have rows
└── Differs          the restored rows differ from the backup
TransientError
└── BeingWritten     a table was written to while it was read
"""

from collections.abc import Sequence
from pathlib import Path

from marketdata_assets.errors import TerminalError, TransientError


class FolderInUse(TerminalError):
    """The folder is not empty."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is not empty; name a new folder for each backup, such as {folder}/2026-01-31")


class NoBackup(TerminalError):
    """The folder has no complete backup."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(
            f"{folder} has no complete backup: {cause}. An interrupted backup cannot be restored; take another, or name"
            " the folder that has manifest.json"
        )


class BadBackup(TerminalError):
    """A file is missing or was changed."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}. Nothing was restored; take the file from another copy of the backup")


class NotEmpty(TerminalError):
    """The tables to be restored already have rows."""

    def __init__(self, store: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{store} has rows in {', '.join(names)}; a backup is restored into empty databases only. Name others, or"
            " drop these tables"
        )


class Differs(TerminalError):
    """The restored rows differ from those of the backup."""

    def __init__(self, store: str, name: str, wanted: str, found: str) -> None:
        super().__init__(
            f"{store} {name}: the backup has {wanted}, the table has {found}. Do not use the table; drop it and"
            " restore again while nothing else writes"
        )


class BeingWritten(TransientError):
    """A table kept changing while it was read."""

    def __init__(self, store: str, name: str) -> None:
        super().__init__(
            f"{store} {name} was written to whenever it was read; take the backup when no run loads it, or stop the"
            " daemon meanwhile"
        )

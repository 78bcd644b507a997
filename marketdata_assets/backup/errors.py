"""What goes wrong with backups.

TerminalError
├── FolderInUse      there is something in the folder that a backup would be written to
├── NoBackup         the folder has no backup that was ended
├── BadBackup        a file of the backup is not as it was written
├── NotEmpty         rows stand where the backup would be restored
└── Differs          what was restored is not what was backed up
TransientError
└── BeingWritten     a table was written to while it was read
"""

from collections.abc import Sequence
from pathlib import Path

from marketdata_assets.errors import TerminalError, TransientError


class FolderInUse(TerminalError):
    """There is something in the folder already."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is not empty; name a new folder for each backup, such as {folder}/2026-01-31")


class NoBackup(TerminalError):
    """No backup that was written to its end."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(
            f"{folder} holds no whole backup: {cause}. One that broke off cannot be restored; take another, or name the"
            " folder that has manifest.json"
        )


class BadBackup(TerminalError):
    """A file is missing or was changed."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}. Nothing was restored; take the file from another copy of the backup")


class NotEmpty(TerminalError):
    """Rows stand where others would come."""

    def __init__(self, store: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{store} has rows in {', '.join(names)}; a backup is restored into empty databases only. Name others, or"
            " drop these tables"
        )


class Differs(TerminalError):
    """The rows that stand are not those of the backup."""

    def __init__(self, store: str, name: str, wanted: str, found: str) -> None:
        super().__init__(
            f"{store} {name}: the backup has {wanted}, and {found} stand. The table is not to be trusted; drop it and"
            " restore again, with nobody else writing"
        )


class BeingWritten(TransientError):
    """A table kept changing while it was read."""

    def __init__(self, store: str, name: str) -> None:
        super().__init__(
            f"{store} {name} was written to whenever it was read; take the backup when no run loads it, or stop the"
            " daemon meanwhile"
        )

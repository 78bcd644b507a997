"""What can go wrong when bars are exported."""

from pathlib import Path

from marketdata_assets.errors import TerminalError, TransientError


class AnotherExport(TerminalError):
    """The folder has other bars, such as of another frequency or adjustment."""

    def __init__(self, folder: Path, found: str, wanted: str) -> None:
        super().__init__(f"{folder} has an export of {found}; export {wanted} to another folder, or delete this one")


class ExportRunning(TransientError):
    """Another process is exporting to the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another export to {folder} is in progress; try again when it has ended")

"""Folders that people and vendors deliver files into."""

from pathlib import Path

import dagster as dg

from marketdata_assets.settings import Settings


class BarFiles(dg.ConfigurableResource):
    """The folder of minute-bar files. An empty `folder` means MARKETDATA_BARS_DIR, else `bars` in the data folder."""

    folder: str = ""

    @property
    def path(self) -> Path:
        """The folder; it need not exist."""
        return Path(self.folder).absolute() if self.folder else Settings().bars_folder

    @property
    def quiet_seconds(self) -> float:
        """Seconds without a change after which a sensor treats a file as complete."""
        return Settings().bars_quiet_seconds


class AlphaFiles(dg.ConfigurableResource):
    """The folder of alphas, a folder an account. An empty `folder` means MARKETDATA_ALPHAS_DIR, else HOME/alphas."""

    folder: str = ""

    @property
    def path(self) -> Path:
        """The folder; it need not exist."""
        return Path(self.folder).absolute() if self.folder else Settings().alphas_folder

    @property
    def quiet_seconds(self) -> float:
        """Seconds without a change after which a sensor treats a file as complete."""
        return Settings().alphas_quiet_seconds


class FlowFiles(dg.ConfigurableResource):
    """The folder of the files that flows load. An empty `folder` means MARKETDATA_FLOWS_DATA, else HOME/flows_data."""

    folder: str = ""

    @property
    def path(self) -> Path:
        """The folder; it need not exist."""
        return Path(self.folder).absolute() if self.folder else Settings().flows_data_folder

    @property
    def quiet_seconds(self) -> float:
        """Seconds without a change after which a sensor treats a file as complete."""
        return Settings().flows_quiet_seconds

"""Folders that people and vendors deliver files into."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg

from marketdata_assets.errors import TerminalError
from marketdata_assets.loading.reports import and_more
from marketdata_assets.local import endpoints
from marketdata_assets.settings import PREFIX, Settings

if TYPE_CHECKING:
    from marketdata_assets.bars.profiles import Shapes
    from marketdata_assets.budget import BudgetPlace
    from marketdata_assets.exchanges.history_clients import HistoryHosts
    from marketdata_assets.flows.definition import FlowDefinition


class Folder(dg.ConfigurableResource):
    """A folder of files, as the settings name it."""

    settings_prefix: ClassVar[str]

    @property
    def path(self) -> Path:
        """The folder. That of the data folder need not exist; raises TerminalError when a variable names a missing one,
        so that a wrong name, or a disk that is not mounted, does not look like a folder without files."""
        if missing := Settings().missing_folders(self.settings_field):
            raise TerminalError(missing[0])
        return self.place

    @property
    def place(self) -> Path:
        """The folder, whether it exists or not."""
        found: Path = getattr(Settings(), f"{self.settings_field.removesuffix('_dir')}_folder")
        return found

    def nothing_new(self, unfinished: Sequence[str] = ()) -> str:
        """Why a sensor asks for nothing."""
        path = self.path
        if not path.is_dir():
            variable = PREFIX + self.settings_field.upper()
            return f"there is no {path}; create it, or set {variable} to the folder of your files"
        return f"nothing new in {path}" + (f"; still being written: {and_more(unfinished, 5)}" if unfinished else "")

    @property
    def settings_field(self) -> str:
        """The field of the settings that names the folder."""
        return f"{self.settings_prefix}_dir"

    @property
    def quiet_seconds(self) -> float:
        """Seconds without a change after which a sensor treats a file as complete."""
        return float(self._setting("quiet_seconds"))

    def _setting(self, name: str) -> Any:
        return getattr(Settings(), f"{self.settings_prefix}_{name}")


class BarFiles(Folder):
    """The folder of minute-bar files: MARKETDATA_BARS_DIR, else `bars` in the data folder."""

    settings_prefix = "bars"

    @property
    def shapes(self) -> "Shapes":
        """The profiles of the files. Raises InvalidConfigFile."""
        from marketdata_assets.bars.profiles import read

        return read(self._setting("profiles"), self._setting("label"))


class DroppedReference(Folder):
    """Dropped files of reference data: MARKETDATA_REFERENCE_DIR, else HOME/reference."""

    settings_prefix = "reference"


class AlphaFiles(Folder):
    """The folder of alphas, a folder an account: MARKETDATA_ALPHAS_DIR, else HOME/alphas."""

    settings_prefix = "alphas"


class FlowFiles(Folder):
    """The folder of the files that flows load: MARKETDATA_FLOWS_DATA, else HOME/flows_data."""

    settings_prefix = "flows"

    @property
    def settings_field(self) -> str:
        """That of the data; `flows_dir` is the folder of the definitions."""
        return "flows_data"

    def of(self, flow: "FlowDefinition") -> Path:
        """The folder for a flow; one that fetches its files makes it with its first run."""
        return self.place if flow.source else self.path

    def budgets(self, flow: str) -> "BudgetPlace | None":
        """The rate limits of a flow's API in the database that hosts share; None means files beside its pages."""
        settings = Settings()
        return endpoints.budgets(settings, settings.budgets_folder, f"flow.{flow}.") if settings.budgets else None


class Exchanges(Folder):
    """The folder of captures, MARKETDATA_CAPTURES_DIR, else HOME/captures; and the venues' REST."""

    settings_prefix = "captures"

    @property
    def turns(self) -> Path:
        """Where the processes of this machine wait for each other's writes."""
        return Settings().turns_folder

    def hosts(self) -> "HistoryHosts":
        """The hosts that histories are requested from, within limits that all processes share."""
        from marketdata_assets.exchanges.history_clients import HistoryHosts

        settings = Settings()
        return HistoryHosts(endpoints.exchange_budgets(settings), settings.exchange_hosts)

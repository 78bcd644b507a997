"""What is known of the exchanges beside the tables: the folder of captures, and the venues' hosts for history."""

from pathlib import Path
from typing import TYPE_CHECKING

from marketdata_assets.resources.files import Folder
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.exchanges.history_clients import HistoryHosts


class Exchanges(Folder):
    """An empty `folder` means MARKETDATA_CAPTURES_DIR, else HOME/captures.

    `urls` are REST hosts by venue, Binance's by venue and market type, that take the place of the venues' own and of
    those in MARKETDATA_EXCHANGE_HOSTS.
    """

    settings_prefix = "captures"
    urls: dict[str, str] = {}  # noqa: RUF012 - a field of pydantic

    @property
    def turns(self) -> Path:
        """Where the processes of this machine wait for each other's writes."""
        return Settings().turns_folder

    def hosts(self) -> "HistoryHosts":
        """The hosts that histories are requested from, within limits that all processes share."""
        from marketdata_assets.exchanges.history_clients import HistoryHosts

        settings = Settings()
        return HistoryHosts(settings.budgets_folder, {**settings.exchange_hosts, **self.urls})

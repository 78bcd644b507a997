"""The BRAIN API: where alphas come from, an account at a time."""

import os
from typing import TYPE_CHECKING

import dagster as dg

from marketdata_assets.alphas import accounts
from marketdata_assets.alphas.accounts import Account, Credentials, find_credentials
from marketdata_assets.alphas.errors import AlphasError, NotEnabled
from marketdata_assets.alphas.filters import Filters, parse
from marketdata_assets.alphas.import_modes import FieldModes
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.alphas.api import BrainClient

SECONDS = 60.0


class Brain(dg.ConfigurableResource):
    """The BRAIN API at MARKETDATA_BRAIN_URL.

    Accounts, credentials, budgets and sessions are where the settings say; none of them is part of the configuration.
    """

    def accounts(self) -> list[Account]:
        """The accounts of the accounts file, disabled ones too; raises InvalidConfigFile."""
        return accounts.read(Settings().brain_accounts_file)

    def enabled(self) -> list[str]:
        """The names of the enabled accounts; raises InvalidConfigFile."""
        return [account.key for account in self.accounts() if account.enabled]

    def ready(self) -> list[str]:
        """The names of the enabled accounts that have credentials; raises InvalidConfigFile."""
        found = []
        for name in self.enabled():
            try:
                self._credentials(name)
            except AlphasError:
                continue
            found.append(name)
        return found

    def fields(self) -> dict[str, FieldModes]:
        """The modes of fields of each account; raises InvalidConfigFile."""
        return {account.key: account.fields for account in self.accounts()}

    def filters(self) -> Filters:
        """Which alphas have record sets; raises BadOptions."""
        return parse(Settings().brain_records)

    def client(self, account: str) -> "BrainClient":
        """A client for an enabled account, to be used in one event loop.

        Raises InvalidConfigFile, NotEnabled or NoCredentials.
        """
        from marketdata_assets.alphas.accounts import budget_name
        from marketdata_assets.alphas.api import BrainClient
        from marketdata_assets.budget import Budget

        settings = Settings()
        listed = {one.key: one for one in self.accounts()}
        if account not in listed or not listed[account].enabled:
            raise NotEnabled(account, str(settings.brain_accounts_file), account in listed)
        budgets = endpoints.budgets(settings, settings.brain_folder, "brain.")
        budget = Budget(budgets, budget_name(account), SECONDS, settings.brain_requests_per_minute)
        return BrainClient(
            account,
            self._credentials(account),
            settings.brain_url,
            sessions=settings.brain_folder,
            budget=budget,
        )

    def _credentials(self, account: str) -> Credentials:
        return find_credentials(account, os.environ, Settings().brain_credentials_file)

"""Who delivers ticks: the providers of the providers file, with the addresses and folders of the settings."""

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr

from marketdata_assets import secret_values
from marketdata_assets.local import endpoints
from marketdata_assets.resources.files import DroppedReference, Folder
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.reference.load import Sources
    from marketdata_assets.ticks.alpaca import Alpaca
    from marketdata_assets.ticks.fallback import Provider
    from marketdata_assets.ticks.files import Files
    from marketdata_assets.ticks.load_run import LoadOptions
    from marketdata_assets.ticks.providers_file import Providers
    from marketdata_assets.ticks.tushare import Tushare
    from marketdata_assets.ticks.yahoo import Yahoo

TOKEN = "TUSHARE_TOKEN"  # noqa: S105 - the name, not the token


class Ticks(Folder):
    """The providers of ticks, all that are enabled or those that it is `restricted` to.

    The folder is MARKETDATA_TICKS_DIR, else HOME/ticks; the providers file MARKETDATA_PROVIDERS, else that which
    comes with the package. Tushare's token is TUSHARE_TOKEN in the environment, Alpaca's keys are APCA_API_KEY_ID and
    APCA_API_SECRET_KEY, and none is part of the configuration.
    """

    settings_prefix = "ticks"
    _only: tuple[str, ...] = PrivateAttr(default=())

    def restricted(self, names: list[str]) -> Self:
        """The same with `names` only."""
        same = type(self)()
        same._only = (*names,)
        return same

    def config(self) -> "Providers":
        """The providers file. Raises InvalidConfigFile, or TicksError for a name that the file lacks."""
        from marketdata_assets.ticks import providers_file
        from marketdata_assets.ticks.errors import TicksError

        named = Settings().providers
        found = providers_file.chosen(named)
        has = [name for name in providers_file.DELIVERS if getattr(found, name)]
        for name in self._only:
            if name not in has:
                place = str(named or "providers.yaml")
                raise TicksError(f"{place}: it has no provider {name!r}; it has {', '.join(has) or 'none'}")
        return found

    def providers(self) -> "list[Provider]":
        """All providers of the file, created for one load; `options` name those that are used."""
        config = self.config()
        files = [self.files()] if config.files else []
        web = (self._tushare(config), self._yahoo(config), self._alpaca(config))
        return [one for one in (*web, *files) if one is not None]

    def files(self) -> "Files":
        """The dropped files."""
        from marketdata_assets.ticks import providers_file
        from marketdata_assets.ticks.files import Files

        section = self.config().files or providers_file.shipped().files
        assert section
        return Files(self.path, section)

    def dropped(self) -> "Files | None":
        """The dropped files; None when the providers file has none, or they are disabled."""
        section = self.config().files
        return self.files() if section and section.enabled else None

    def tushare(self) -> "Tushare | None":
        """Tushare, when it is enabled and has a token or several."""
        config = self.config()
        usable = config.tushare is not None and config.tushare.enabled and self._asked("tushare")
        return self._tushare(config) if usable and secret_values.find(TOKEN, os.environ) else None

    async def why_yahoo_is_closed(self) -> str:
        """Why Yahoo does not answer this machine now, by one request; empty when it does."""
        from marketdata_assets.ticks import providers_file

        yahoo = self._yahoo(self.config()) or self._yahoo(providers_file.shipped())
        assert yahoo
        async with yahoo:
            return await yahoo.why_closed()

    def reference(self) -> "Sources":
        """Where reference data comes from: dropped files, and Tushare when it is enabled and has a token."""
        from marketdata_assets.reference.files import ReferenceFiles
        from marketdata_assets.reference.load import Sources
        from marketdata_assets.ticks.tushare_reference import TushareReference

        files = ReferenceFiles(DroppedReference().path)
        if self.tushare() is None:
            return Sources(files)

        def provider() -> TushareReference:
            account = self.tushare()
            assert account
            return TushareReference(account)

        return Sources(files, provider)

    def options(self, **changes: Any) -> "LoadOptions":
        """The options of a load; `changes` are fields of LoadOptions. Raises InvalidConfigFile or TicksError."""
        from marketdata_assets.ticks.finality import Rules
        from marketdata_assets.ticks.load_run import LoadOptions

        settings = Settings()
        known: dict[str, Any] = {
            "workers": settings.ticks_workers,
            "rules": Rules(settings.ticks_confirm_days, settings.ticks_deadline_days),
            "first": tuple(self.config().queue.first),
            "providers": self._only,
            "turns": self.turns,
        }
        return LoadOptions(**(known | changes))

    @property
    def network(self) -> bool:
        """Whether automatic runs may send requests: a token is set, or a providers file is named."""
        from marketdata_assets.ticks.providers_file import NETWORK

        token = secret_values.find(TOKEN, os.environ) or self._alpaca_keys()
        opted_in = bool(token or Settings().providers)
        return opted_in and any(map(self._asked, NETWORK))

    @property
    def turns(self) -> Path:
        """Where the processes of this machine wait for each other's writes."""
        return Settings().turns_folder

    @property
    def symbols_file(self) -> Path | None:
        """A list of symbols that takes the place of Tushare's."""
        named = Settings().ticks_symbols
        return named.absolute() if named else None

    def _asked(self, name: str) -> bool:
        return not self._only or name in self._only

    def _tushare(self, config: "Providers") -> "Tushare | None":
        from marketdata_assets.ticks import tushare
        from marketdata_assets.ticks.provider_client import rate_limiter

        if config.tushare is None:
            return None
        settings, text = Settings(), secret_values.find(TOKEN, os.environ) or ""
        budgets = endpoints.budgets(settings, settings.budgets_folder)
        accounts = [
            tushare.Account(token, rate_limiter(tushare.NAME, config.tushare, budgets, token))
            for token in dict.fromkeys(text.replace(",", " ").split())
        ]
        return tushare.Tushare(accounts, config.tushare, url=settings.tushare_url)

    def _yahoo(self, config: "Providers") -> "Yahoo | None":
        from marketdata_assets.ticks import yahoo
        from marketdata_assets.ticks.provider_client import rate_limiter

        if config.yahoo is None:
            return None
        settings = Settings()
        limiter = rate_limiter(yahoo.NAME, config.yahoo, endpoints.budgets(settings, settings.budgets_folder))
        return yahoo.Yahoo(config.yahoo, limiter, url=settings.yahoo_url, clock=lambda: dt.datetime.now(dt.UTC))

    @staticmethod
    def _alpaca_keys() -> tuple[str, str] | None:
        from marketdata_assets.ticks.providers_file import ALPACA_KEYS

        found = [secret_values.find(name, os.environ) for name in ALPACA_KEYS]
        return (found[0], found[1]) if found[0] and found[1] else None

    def _alpaca(self, config: "Providers") -> "Alpaca | None":
        from marketdata_assets.ticks import alpaca
        from marketdata_assets.ticks.provider_client import rate_limiter

        if config.alpaca is None:
            return None
        settings, keys = Settings(), self._alpaca_keys()
        budgets = endpoints.budgets(settings, settings.budgets_folder)
        limiter = rate_limiter(alpaca.NAME, config.alpaca, budgets, keys[0] if keys else "")
        return alpaca.Alpaca(
            keys, config.alpaca, limiter, url=settings.alpaca_url, clock=lambda: dt.datetime.now(dt.UTC)
        )

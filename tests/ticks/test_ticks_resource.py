"""Ticks as a resource: providers of the file, folders of the settings, and a token that is in no configuration."""

from pathlib import Path

import pytest

from marketdata_assets.resources import Ticks
from marketdata_assets.settings import Settings
from marketdata_assets.ticks.errors import BadProviders
from marketdata_assets.ticks.fallback import in_order
from marketdata_demo.servers.tushare import TOKEN, TushareServer


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TUSHARE_TOKEN", "MARKETDATA_PROVIDERS", "MARKETDATA_TICKS_DIR", "MARKETDATA_TICKS_SYMBOLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))
    return tmp_path


def test_the_shipped_providers_in_their_order(home: Path) -> None:
    providers = Ticks().providers()
    assert [one.name for one in in_order(providers, "tick_data")] == ["tushare", "yahoo", "files"]
    assert Ticks().path == home / "ticks"
    assert Ticks().files().folder == home / "ticks"


def test_what_runs_by_itself_asks_the_network_only_when_somebody_wanted_that(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Ticks().network
    monkeypatch.setenv("TUSHARE_TOKEN", TOKEN)
    assert Ticks().network
    assert not Ticks().restricted(["files"]).network
    monkeypatch.delenv("TUSHARE_TOKEN")
    own = home / "mine.yaml"
    own.write_text("yahoo: {}\n")
    monkeypatch.setenv("MARKETDATA_PROVIDERS", str(own))
    assert Ticks().network


def test_the_token_is_in_no_configuration_and_opens_tushare(
    monkeypatch: pytest.MonkeyPatch, tushare_server: TushareServer
) -> None:
    monkeypatch.setenv("MARKETDATA_TUSHARE_URL", tushare_server.url)
    assert Ticks().tushare() is None
    monkeypatch.setenv("TUSHARE_TOKEN", TOKEN)
    ticks = Ticks()
    assert ticks.tushare() is not None
    assert ticks.restricted(["yahoo"]).tushare() is None
    assert TOKEN not in repr(ticks) + str(ticks.model_dump())
    assert TOKEN not in repr(ticks.options()) + repr([vars(one) for one in ticks.providers() if one.name != "tushare"])


def test_restricted_names_go_into_the_options_and_unknown_ones_are_refused(home: Path) -> None:
    (home / "mine.yaml").write_text(_only_files())
    ticks = Ticks(providers_file=str(home / "mine.yaml"))
    options = ticks.restricted(["files"]).options(refetch=True)
    assert (options.providers, options.refetch, options.first) == (("files",), True, ("600001.SH",))
    assert (options.workers, options.turns) == (Settings().ticks_workers, home / "turns")
    with pytest.raises(BadProviders, match=r"mine.yaml: it has no provider 'tushare'; it has files"):
        ticks.restricted(["tushare"]).config()
    assert [one.name for one in ticks.providers()] == ["files"]


def test_budgets_are_never_in_the_watched_folder(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    settings = Settings()
    for folder in (settings.budgets_folder, settings.turns_folder):
        assert not folder.is_relative_to(settings.ticks_folder)
    monkeypatch.setenv("MARKETDATA_TICKS_SYMBOLS", "symbols.txt")
    assert Ticks().symbols_file == Path("symbols.txt").absolute()


def _only_files() -> str:
    return """
queue: {first: [600001.SH]}
files:
  enabled: true
  priority: 1
  supports: [tick_data]
  quality: {min_price: 0.01, max_price: 10000, max_volume: 1.0e+9, max_return: 0.31}
  symbol_mapping: {suffixes: {SH: SH}, symbols: {}}
  session: {timezone: Asia/Shanghai, hours: ["09:30-11:30", "13:00-15:00"]}
"""

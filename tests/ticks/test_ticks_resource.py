"""The providers file and the resource of it: limits, symbol mapping, folders, and a token in no configuration."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.resources import Ticks
from marketdata_assets.settings import Settings
from marketdata_assets.ticks.errors import TicksError
from marketdata_assets.ticks.fallback import in_order
from marketdata_assets.ticks.providers_file import ALPACA_KEYS as KEYS
from marketdata_assets.ticks.providers_file import SymbolMapping, read, shipped
from marketdata_demo.servers.tushare import TOKEN, TushareServer
from tests.ticks.unlimited import UNLIMITED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TUSHARE_TOKEN", *KEYS, "MARKETDATA_PROVIDERS", "MARKETDATA_TICKS_DIR", "MARKETDATA_TICKS_SYMBOLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))
    return tmp_path


def test_the_shipped_providers_in_their_order(home: Path) -> None:
    providers = Ticks().providers()
    assert [one.name for one in in_order(providers, "tick_data")] == ["tushare", "alpaca", "yahoo", "files"]
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
    home: Path, monkeypatch: pytest.MonkeyPatch, tushare_server: TushareServer
) -> None:
    monkeypatch.setenv("MARKETDATA_TUSHARE_URL", tushare_server.url)
    assert Ticks().tushare() is None
    monkeypatch.setenv("TUSHARE_TOKEN", TOKEN)
    ticks = Ticks()
    assert ticks.tushare() is not None
    assert ticks.restricted(["yahoo"]).tushare() is None
    assert TOKEN not in repr(ticks) + str(ticks.model_dump())
    assert TOKEN not in repr(ticks.options()) + repr([vars(one) for one in ticks.providers() if one.name != "tushare"])


def test_restricted_names_are_options_and_unknown_ones_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_files = UNLIMITED[UNLIMITED.index("files:") :]
    (home / "mine.yaml").write_text(f"queue: {{first: [600001.SH]}}\n{only_files}")
    monkeypatch.setenv("MARKETDATA_PROVIDERS", str(home / "mine.yaml"))
    ticks = Ticks()
    options = ticks.restricted(["files"]).options(refetch=True)
    assert (options.providers, options.refetch, options.first) == (("files",), True, ("600001.SH",))
    assert (options.workers, options.turns) == (Settings().ticks_workers, home / "turns")
    with pytest.raises(TicksError, match=r"mine.yaml: it has no provider 'tushare'; it has files"):
        ticks.restricted(["tushare"]).config()
    assert [one.name for one in ticks.providers()] == ["files"]


def test_budgets_are_never_in_the_watched_folder(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    settings = Settings()
    for folder in (settings.budgets_folder, settings.turns_folder):
        assert not folder.is_relative_to(settings.ticks_folder)
    monkeypatch.setenv("MARKETDATA_TICKS_SYMBOLS", "symbols.txt")
    assert Ticks().symbols_file == Path("symbols.txt").absolute()


SHIPPED = files("marketdata_assets.ticks").joinpath("providers.yaml").read_text()


def test_the_shipped_file_has_the_limits_of_the_providers() -> None:
    providers = shipped()
    assert providers.tushare
    assert providers.yahoo
    assert providers.alpaca
    assert providers.files
    limits = [
        (one.rate_limits.requests_per_minute, one.rate_limits.requests_per_hour)
        for one in (providers.tushare, providers.yahoo, providers.alpaca)
    ]
    assert limits == [(200, 10000), (60, 1500), (200, 12000)]
    others = (providers.tushare, providers.alpaca, providers.yahoo, providers.files)
    assert [one.priority for one in others] == [1, 1, 2, 3]
    assert providers.tushare.network.timeout == 30
    assert providers.queue.first == []


def test_a_file_may_have_fewer_providers(tmp_path: Path) -> None:
    file = tmp_path / "providers.yaml"
    file.write_text(SHIPPED[SHIPPED.index("files:") :])
    assert (read(file).tushare, read(file).yahoo) == (None, None)


def test_symbols_are_mapped_by_suffix_or_by_name() -> None:
    mapping = SymbolMapping(suffixes={"SH": "SS", "SZ": "SZ"}, symbols={"AAPL.US": "AAPL"})
    assert [mapping.theirs(one) for one in ("600000.SH", "000002.SZ", "AAPL.US", "920000.BJ", "AAPL", ".SH")] == [
        "600000.SS", "000002.SZ", "AAPL", None, None, None,
    ]  # fmt: skip
    assert [mapping.ours(one) for one in ("600000.SS", "AAPL", "600000.SH")] == ["600000.SH", "AAPL.US", None]


@pytest.mark.parametrize("changes", ["suffixes: {SH: SH, DE: DE}", "suffixes: {}, symbols: {BMW.DE: BMW.DE}"])
def test_no_mapping_has_an_exchange_whose_clock_is_not_known(tmp_path: Path, changes: str) -> None:
    file = tmp_path / "providers.yaml"
    section = re.sub(
        r"symbol_mapping:\n.*\n.*\n", f"symbol_mapping: {{{changes}}}\n", SHIPPED[SHIPPED.index("files:") :]
    )
    file.write_text(section)
    with pytest.raises(InvalidConfigFile, match="no exchange 'DE' is known; there are symbols as 600000"):
        read(file)


codes = st.from_regex(r"[0-9]{6}", fullmatch=True)
suffixes = st.sampled_from(["SH", "SZ", "BJ", "HK", "US"])


@given(
    st.dictionaries(suffixes, st.sampled_from(["SS", "SZ", "BJ", "SH", "N"]), max_size=4),
    st.dictionaries(st.builds("{}.{}".format, codes, suffixes), st.builds("{}.{}".format, codes, suffixes), max_size=3),
    st.builds("{}.{}".format, codes, suffixes),
)
def test_mapping_goes_there_and_back(by_suffix: dict[str, str], by_name: dict[str, str], symbol: str) -> None:
    try:
        mapping = SymbolMapping(suffixes=by_suffix, symbols=by_name)
    except ValueError:
        return
    for one in (symbol, *by_name):
        theirs = mapping.theirs(one)
        assert theirs is None or mapping.ours(theirs) == one
    for name in (symbol, *by_name.values()):
        ours = mapping.ours(name)
        assert ours is None or mapping.theirs(ours) == name

"""The providers file: limits of the shipped one, and symbol mapping. Its problems are in test_config_files."""

from importlib.resources import files
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.ticks.providers_file import SymbolMapping, read, shipped

SHIPPED = files("marketdata_assets.ticks").joinpath("providers.yaml").read_text()


def test_the_shipped_file_has_the_limits_of_the_providers() -> None:
    providers = shipped()
    assert providers.tushare
    assert providers.yahoo
    assert providers.files
    limits = [
        (one.rate_limits.requests_per_minute, one.rate_limits.requests_per_hour)
        for one in (providers.tushare, providers.yahoo)
    ]
    assert limits == [(200, 10000), (2000, 48000)]
    assert [one.priority for one in (providers.tushare, providers.yahoo, providers.files)] == [1, 2, 3]
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

"""The providers file: what it refuses, and that every key of it does something."""

from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.ticks.errors import BadProviders
from marketdata_assets.ticks.providers_file import SymbolMapping, parse, read, shipped

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


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("tushare:", "tushaer:", "unknown key 'tushaer'; did you mean 'tushare'?"),
        ("requests_per_hour: 10000", "requests_per_hr: 10000", "unknown key 'tushare.rate_limits.requests_per_hr'; did you mean 'requests_per_hour'?"),  # noqa: E501
        ("backoff: 2.0", "back_off: 2.0", "unknown key 'tushare.network.back_off'; did you mean 'backoff'?"),
        ("  supports: [tick_data, order_book]", "  supports: [tick_data]\n  network: {timeout: 3}", "unknown key 'files.network'; did you mean"),  # noqa: E501
        ("timeout: 30", "timeout: 0", "tushare.network: timeout must be above 0, was 0"),
        ("max_retries: 3", "max_retries: -1", "tushare.network: max_retries must be from 0 to 20, was -1"),
        ("priority: 1", "priority: high", "tushare.priority: Expected `int`, got `str`"),
        ("enabled: true", "enabled: 1", "tushare.enabled: Expected `bool`, got `int`"),
        ("  priority: 1\n", "", "tushare: Object missing required field `priority`"),
        ("  priority: 1\n", "  priority: 1\n  priority: 2\n", "'priority' is there twice; remove one"),
        ("[tick_data, factors]", "[order_book]", "tushare.supports: tushare has no order_book; it has factors, tick_data"),  # noqa: E501
        ("[tick_data, order_book]", "[ticks]", "files.supports[0]: Invalid enum value 'ticks'"),
        ("Asia/Shanghai", "Asia/Peking", "timezone 'Asia/Peking' is not known"),
        ("09:30-11:30", "11:30-09:30", "must be spans such as 09:30-11:30"),
        ("09:30-11:30", "morning", "'morning' is no span such as 09:30-11:30"),
        ("min_price: 0.01", "min_price: 20000", "min_price 20000.0 must be below max_price 10000.0"),
        ("max_return: 0.31", "max_return: .nan", "max_return must be above 0, was nan"),
        ("{SH: SS, SZ: SZ}", "{SH: SZ, SZ: SZ}", "two suffixes have the same name at the provider"),
        ("symbols: {}", "symbols: {000001.XX: 600000.SH}", "'600000.SH' is 000001.XX by its own line and 600000.SH"),
        ("tushare:\n", "tushare:\n  - 1\n", "not YAML"),
        ("first: []", "frist: []", "unknown key 'queue.frist'; did you mean 'first'?"),
        ("first: []", "first: [600000.SH, 600000.SH]", "queue: first names a symbol twice"),
        ("first: []", "first: [sh600000]", "queue: first: 'sh600000' is no symbol such as 600000.SH"),
    ],
)  # fmt: skip
def test_what_nobody_would_read_is_an_error(old: str, new: str, cause: str) -> None:
    assert old in SHIPPED
    with pytest.raises(BadProviders) as error:
        parse(SHIPPED.replace(old, new, 1), "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert cause in str(error.value)


@pytest.mark.parametrize(("text", "cause"), [("", "has none"), ("- a", "has none"), ("yahoo: 1", "keys of its own")])
def test_a_file_without_sections_is_an_error(text: str, cause: str) -> None:
    with pytest.raises(BadProviders, match=cause):
        parse(text, "my.yaml")


def test_a_file_may_have_fewer_providers(tmp_path: Path) -> None:
    file = tmp_path / "providers.yaml"
    file.write_text(SHIPPED[SHIPPED.index("files:") :])
    assert (read(file).tushare, read(file).yahoo) == (None, None)
    with pytest.raises(BadProviders, match="cannot be read"):
        read(tmp_path / "none.yaml")


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
        mapping = SymbolMapping(by_suffix, by_name)
    except ValueError:
        return
    for one in (symbol, *by_name):
        theirs = mapping.theirs(one)
        assert theirs is None or mapping.ours(theirs) == one
    for name in (symbol, *by_name.values()):
        ours = mapping.ours(name)
        assert ours is None or mapping.theirs(ours) == name

"""Stock codes: the vendor's spelling, and the exchange."""

import pytest

from marketdata_assets.reference.codes import advice, canonical, contradiction, exchange


@pytest.mark.parametrize(
    ("vendor", "ours"),
    [
        ("sh600000", "600000.SH"),
        ("SH600000", "600000.SH"),
        ("Sz000001", "000001.SZ"),
        (" sz301001 ", "301001.SZ"),
        ("BJ430090", "430090.BJ"),
        ("bj920000", "920000.BJ"),
        ("sh900901", "900901.SH"),
        ("600000", None),
        ("600000.SH", "600000.SH"),
        ("sh.600909", "600909.SH"),
        ("600908.XSHG", "600908.SH"),
        ("000001.xshe", "000001.SZ"),
        ("600000.SS", "600000.SH"),
        ("SHSE.600000", None),
        ("600000.HK", None),
        ("AAPL.US", None),
        ("hk000700", None),
        ("sh60000", None),
        ("sh6000000", None),
        ("sh60000a", None),
        ("sh６０００００", None),
        ("ſh600000", None),
        ("sh600000\n1", None),
        ("", None),
    ],
)
def test_vendor_code_becomes_ours_or_is_rejected(vendor: str, ours: str | None) -> None:
    assert canonical(vendor) == ours


@pytest.mark.parametrize(
    ("digits", "venue"),
    [
        *dict.fromkeys(("600000", "688001", "900901"), "SH").items(),
        *dict.fromkeys(("000001", "200002", "300001"), "SZ").items(),
        *dict.fromkeys(("430090", "830799", "920000", "921234"), "BJ").items(),
        *dict.fromkeys(("100000", "60000", "60000x")).items(),
    ],
)
def test_digits_tell_the_exchange(digits: str, venue: str | None) -> None:
    assert exchange(digits) == venue


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("600906", "write 600906.SH"),
        ("1", "write 000001.SZ: its leading zeros are lost"),
        ("AAPL", "write it as 600000.SH"),
        ("100000", "write it as 600000.SH"),
    ],
)
def test_a_code_without_an_exchange_gets_advice(code: str, words: str) -> None:
    assert advice(code) == words


@pytest.mark.parametrize(
    "symbol", ["600000.SH", "900901.SH", "510300.SH", "000300.SH", "000001.SZ", "920001.BJ", "1.HK"]
)
def test_numbers_that_may_be_of_their_exchange_contradict_nothing(symbol: str) -> None:
    assert contradiction(symbol) == ""

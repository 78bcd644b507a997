"""Stock codes: the vendor's spelling, the exchange and the board."""

import pytest

from marketdata_assets.bars.codes import board, canonical, exchange


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
        ("600000.SH", None),
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
    ("digits", "venue", "group"),
    [
        ("600000", "SH", "main"),
        ("688001", "SH", "STAR"),
        ("689009", "SH", "STAR"),
        ("900901", "SH", "B"),
        ("000001", "SZ", "main"),
        ("002594", "SZ", "main"),
        ("200002", "SZ", "B"),
        ("300001", "SZ", "ChiNext"),
        ("301001", "SZ", "ChiNext"),
        ("430090", "BJ", "BJ"),
        ("830799", "BJ", "BJ"),
        ("920000", "BJ", "BJ"),
        ("921234", "BJ", "BJ"),
        ("100000", None, None),
        ("60000", None, None),
        ("60000x", None, None),
    ],
)
def test_digits_tell_exchange_and_board(digits: str, venue: str | None, group: str | None) -> None:
    assert exchange(digits) == venue
    assert board(f"{digits}.{venue}") == group

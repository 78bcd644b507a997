"""Deribit's instruments: from the list, and from nothing but the name."""

import pytest

from marketdata_assets.exchanges.deribit.instruments import from_name, is_combo, parse_instruments
from marketdata_assets.exchanges.errors import UNREADABLE
from marketdata_demo.venues.deribit_messages import LISTED, instruments, result


@pytest.mark.parametrize(
    "name", ["ABC-FS-28MAR25_PERP", "ABC-CS-28MAR25-100_200", "ABC_USDC-STRG-28MAR25-100_200", "ABC-COMBO-1"]
)
def test_combos_are_told_by_their_names(name: str) -> None:
    assert is_combo(name)
    assert from_name(name) is None


def test_list_is_read_without_combos() -> None:
    known = instruments().known
    assert len(known) == len(LISTED) - 1
    assert {name: one.contract_value for name, one in known.items()} == {
        "ABC-PERPETUAL": "10.0",
        "ABC-25DEC26": "10.0",
        "ABC-25DEC26-100-C": "1.0",
        "ABC_USDC-PERPETUAL": "0.1",
        "ABC_USDC": None,
    }


def test_entries_of_before_2022_tell_how_they_pay_by_their_currency() -> None:
    old = {"base_currency": "ABC", "contract_size": 1}
    rows = [
        {"instrument_name": "ABC-PERPETUAL", "kind": "future", "quote_currency": "USD", **old},
        {"instrument_name": "ABC_USDC-PERPETUAL", "kind": "future", "quote_currency": "USDC", **old},
        {"instrument_name": "ABC-28MAR25-100-C", "kind": "option", "quote_currency": "ABC", **old},
    ]
    made = parse_instruments(result(rows)).instruments
    assert [(one.market_type, one.quote, one.contract_value) for one in made] == [
        ("inverse", "USD", "1"),
        ("linear", "USDC", "1"),
        ("option", "USD", "1"),
    ]


def test_a_future_with_a_name_of_a_new_kind_keeps_the_whole_name_in_its_symbol() -> None:
    (one,) = parse_instruments(result([LISTED[0] | {"instrument_name": "ABC-WEEKLY"}])).instruments
    assert one.symbol == "ABC-USD-ABC-WEEKLY"


@pytest.mark.parametrize("raw", [b"", b"[]", result({}), result([{}]), result([LISTED[0] | {"contract_size": "10"}])])
def test_a_list_that_cannot_be_read_is_an_error(raw: bytes) -> None:
    with pytest.raises(UNREADABLE):
        parse_instruments(raw)

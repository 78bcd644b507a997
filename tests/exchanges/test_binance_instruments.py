"""Binance's lists of instruments."""

from collections.abc import Sequence

import msgspec
import pytest

from marketdata_assets.exchanges.binance.instruments import ExchangeInfo, Listed, instruments
from marketdata_assets.exchanges.errors import BadInstruments


def info(listed: Sequence[object]) -> ExchangeInfo:
    """A list with these entries."""
    entries = [msgspec.Raw(msgspec.json.encode(one)) for one in listed]
    return ExchangeInfo(entries, entries)


def test_options_say_what_a_contract_is_worth() -> None:
    listed = Listed("ABC-300101-50-C", "USDT", underlying="ABCUSDT", unit=10)
    (one,) = instruments("option", info([listed])).instruments
    assert (one.symbol, one.base, one.contract_value) == ("ABC-USDT-300101-50-C", "ABC", "10")


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [Listed("ABCUSD_PERP", "USD", "ABC")],
        [Listed("ABCUSD_PERP", "USD", "ABC", contractSize=0)],
        [Listed("ABCUSD_PERP", "", "ABC", contractSize=1)],
    ],
)
def test_lists_that_cannot_be_used(listed: list[Listed]) -> None:
    with pytest.raises(BadInstruments):
        instruments("inverse", info(listed))

"""OKX's lists of instruments, and what a name alone says."""

from pathlib import Path

import msgspec
import pytest

from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.instruments import Instrument, Instruments, Listing
from marketdata_assets.exchanges.okx.instruments import instruments


class Line(msgspec.Struct):
    data: msgspec.Raw


@pytest.fixture(scope="module")
def lists(fixtures: Path) -> dict[str, Instrument]:
    """The instruments of May 2022."""
    lines = (fixtures / "okx/instruments/instruments_2022-05-13.ndjson").read_bytes().splitlines()
    decoder = msgspec.json.Decoder(Line)
    known = Instruments("okx")
    for line in lines:
        known.add(instruments(bytes(decoder.decode(line).data)).instruments)
    return known.known


def test_every_listed_instrument_is_known(lists: dict[str, Instrument]) -> None:
    counts = {kind: sum(one.market_type == kind for one in lists.values()) for kind in ("spot", "linear", "inverse")}
    assert counts == {"spot": 513, "linear": 126 + 52, "inverse": 40 + 52}
    assert len(lists) == 513 + 166 + 104 + 346 + 350
    assert all((one.contract_value is None) == (one.market_type == "spot") for one in lists.values())


@pytest.mark.parametrize(
    ("name", "market_type", "symbol", "value"),
    [
        ("BTC-USDT", "spot", "BTC-USDT", None),
        ("BTC-USDT-SWAP", "linear", "BTC-USDT", "0.01"),
        ("BTC-USD-SWAP", "inverse", "BTC-USD", "100"),
        ("BTC-USDT-220520", "linear", "BTC-USDT-220520", "0.01"),
        ("BTC-USD-220514-22000-C", "option", "BTC-USD-220514-22000-C", "0.1"),  # ctVal 1, ctMult 0.1
        ("ETH-USD-220514-1300-C", "option", "ETH-USD-220514-1300-C", "1"),
    ],
)
def test_listed_instrument(
    lists: dict[str, Instrument], name: str, market_type: str, symbol: str, value: str | None
) -> None:
    one = lists[name]
    assert (one.market_type, one.symbol, one.contract_value) == (market_type, symbol, value)
    assert one.unit == ("base" if market_type == "spot" else "contracts")


def test_newer_lists_say_hundredths_of_a_coin(fixtures: Path) -> None:
    raw = (fixtures / "okx/instruments/naut_http_get_instruments_option.json").read_bytes()
    told = instruments(raw).instruments
    assert {one.contract_value for one in told} == {"0.01"}


def swap(**more: str) -> dict[str, str]:
    told = {"uly": "ABC-USDT", "ctType": "linear", "ctVal": "0.1", "ctMult": "1", "ctValCcy": "ABC"}
    return {"instType": "SWAP", "instId": "ABC-USDT-SWAP", **told, **more}


def listing(*entries: dict[str, str]) -> Listing:
    return instruments(msgspec.json.encode({"code": "0", "data": entries}))


def test_value_in_a_third_currency_tells_no_size() -> None:
    assert [one.contract_value for one in listing(swap(ctValCcy="USD"), swap(ctVal="")).instruments] == [None, None]


def test_kinds_that_are_not_ours_are_left_out() -> None:
    assert listing({"instType": "EVENTS", "instId": "ABC-UP"}) == Listing([], [], {"ABC-UP"})


@pytest.mark.parametrize("more", [{"ctType": ""}, {"uly": ""}, {"ctVal": "x"}, {"ctMult": "1,0"}])
def test_list_that_cannot_be_used_says_why(more: dict[str, str]) -> None:
    with pytest.raises(BadInstruments, match="ABC-USDT-SWAP"):
        listing(swap(**more))

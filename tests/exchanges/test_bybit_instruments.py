"""Instruments of Bybit: what its lists say, and what a name alone gives away."""

import json
from dataclasses import replace
from typing import Any

import pytest

from marketdata_assets.exchanges.bybit.instruments import QUOTES, decode_listed, instruments, named
from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import MarketType


def listed(**entry: Any) -> list[Instrument]:
    raw = json.dumps({"retCode": 0, "result": {"list": [entry], "nextPageCursor": None}, "time": 1}).encode()
    return instruments(decode_listed(raw).result.list).instruments


def entry(symbol: str, base: str, quote: str, contract_type: str = "", delivery: str = "0") -> dict[str, str]:
    told = {"symbol": symbol, "status": "Trading", "baseCoin": base, "quoteCoin": quote}
    return told | ({"contractType": contract_type, "deliveryTime": delivery} if contract_type else {})


DEC25 = "1766736000000"  # 2025-12-26 08:00 UTC
ROWS = [
    (entry("BTCUSDT", "BTC", "USDT"), "spot", "BTC-USDT"),
    (entry("ETHBTC", "ETH", "BTC"), "spot", "ETH-BTC"),
    (entry("BTCUSDT", "BTC", "USDT", "LinearPerpetual"), "linear", "BTC-USDT"),
    (entry("1000PEPEUSDT", "1000PEPE", "USDT", "LinearPerpetual"), "linear", "1000PEPE-USDT"),
    (entry("BTCPERP", "BTC", "USDC", "LinearPerpetual"), "linear", "BTC-USDC"),
    (entry("BTCUSDT-26DEC25", "BTC", "USDT", "LinearFutures", DEC25), "linear", "BTC-USDT-251226"),
    (entry("BTC-26DEC25", "BTC", "USDC", "LinearFutures", DEC25), "linear", "BTC-USDC-251226"),
    (entry("BTCUSD", "BTC", "USD", "InversePerpetual"), "inverse", "BTC-USD"),
    (entry("BTCUSDZ25", "BTC", "USD", "InverseFutures", DEC25), "inverse", "BTC-USD-251226"),
]


@pytest.mark.parametrize(("told", "market_type", "symbol"), ROWS)
def test_list_and_name_say_the_same(told: dict[str, str], market_type: MarketType, symbol: str) -> None:
    [instrument] = listed(**told)
    assert (instrument.market_type, instrument.symbol, instrument.name) == (market_type, symbol, told["symbol"])
    assert (instrument.base, instrument.quote) == (told["baseCoin"], told["quoteCoin"])
    unsaid = replace(instrument, expires_at=None, state=None, venue_state="")
    assert named(market_type, told["symbol"]) == unsaid, "a name says neither the hour nor the state"
    dated = instrument.symbol.count("-") == 2
    assert instrument.expires_at == (int(told["deliveryTime"]) * 1_000_000 if dated else None)


def test_longest_quote_ends_a_name() -> None:
    assert {quote for quote in QUOTES if (found := named("spot", f"ABC{quote}")) and found.quote == quote} == set(
        QUOTES
    )


def test_sizes_of_inverse_contracts_are_usd() -> None:
    instrument = named("inverse", "BTCUSD")
    assert instrument is not None
    assert (instrument.base_size("100", "20000"), instrument.contracts("100")) == ("0.005", "100")
    linear = named("linear", "BTCUSDT")
    assert linear is not None
    assert (linear.base_size("0.5", "20000"), linear.contracts("0.5")) == ("0.5", None)


def test_kinds_that_nobody_knows_are_left_out() -> None:
    assert listed(**entry("X", "X", "Y", "SpreadPerpetual")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        entry("BTCUSDT", "", "USDT"),
        entry("BTCUSDT", "BTC", ""),
        entry("BTCUSDT-26DEC25", "BTC", "USDT", "LinearFutures", "0"),
        entry("BTCUSDT-26DEC25", "BTC", "USDT", "LinearFutures", "soon"),
    ],
)
def test_wrong_entry_is_an_error(wrong: dict[str, str]) -> None:
    with pytest.raises(BadInstruments):
        listed(**wrong)

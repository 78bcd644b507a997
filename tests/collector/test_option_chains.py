"""Option chains of the venues against simulated ones: contracts list and expire, greeks, volatilities, interest."""

import time
from pathlib import Path
from typing import Any

from marketdata_assets.exchanges.records import FundingRate, OpenInterest, Ticker, Trade
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from tests.collector.collecting import Run, collecting
from tests.collector.in_loop import in_loop

TYPES = ("trade", "orderbook", "kline", "ticker", "open_interest")


def told(run: Run, instrument: str, *fields: str) -> dict[str, Any]:
    """The latest value of fields of an instrument's tickers."""
    values: dict[str, Any] = dict.fromkeys(fields)
    for one in run.of(Ticker):
        if one.instrument == instrument:
            values |= {name: value for name in fields if (value := getattr(one, name)) is not None}
    return values


@in_loop
async def test_a_chain_of_deribit_has_greeks_volatilities_and_the_underlying(tmp_path: Path) -> None:
    call, put = "ABC-25DEC30-100-C", "ABC-25DEC30-100-P"
    with DeribitVenue([call, put], seed=5, rate=50.0) as venue:
        async with collecting(venue, "deribit", "option", ["ABC-*"], TYPES, tmp_path) as run:
            await run.live()
            await run.until(lambda: told(run, call, "rho")["rho"] and run.of(OpenInterest))
            greeks = {"delta": "-0.63", "gamma": "5.8e-4", "vega": "3.885", "theta": "-28.34", "rho": "0.662"}
            assert told(run, call, *greeks) == greeks
            volatilities = {"bid_iv": "58.4", "ask_iv": "66.9", "mark_iv": "63.2"}
            assert told(run, call, *volatilities) == volatilities
            assert all(told(run, call, "mark_price", "index_price", "underlying_price").values())
            assert not run.trouble
    assert not venue.violations


@in_loop
async def test_a_chain_of_okx_takes_the_summary_of_its_family_once(tmp_path: Path) -> None:
    call, put, other = "ABC-USD-301225-100-C", "ABC-USD-301225-100-P", "XYZ-USD-301225-5-C"
    soon = "ABC-USD-301226-100-C"
    with OkxVenue([call, put, other, "ABC-USD-SWAP"], seed=5, rate=50.0) as venue:
        venue.list_instrument(soon, time.time_ns() // 1_000_000 + 2500)
        async with collecting(venue, "okx", "option", ["*-USD-*", "!*-P"], TYPES, tmp_path, expired=0.1) as run:
            await run.live()
            assert set(run.market.instruments) == {call, other, soon}
            keys = [one.key for one in run.market.state().subscriptions]
            assert [key for key in keys if "summary" in key] == ["opt-summary:ABC-USD", "opt-summary:XYZ-USD"]
            await run.until(lambda: all(told(run, call, "delta", "last", "mark_price").values()))
            expected = {"delta": "0.2038", "gamma": "0.0013", "vega": "0.7647", "theta": "-16.47", "mark_iv": "77.95"}
            assert told(run, call, *expected) == expected
            assert told(run, call, "underlying_price", "ask_iv", "rho")["underlying_price"]
            assert put not in {one.instrument for one in run.records}, "the family has it, and nobody wants it"
            await run.until(lambda: soon not in run.market.instruments)
            await run.until(lambda: not [key for key in venue.subscribed() if soon in key])
            assert not run.gaps()
            interest = next(one for one in run.of(OpenInterest) if one.instrument == call)
            assert (interest.contracts, interest.size, interest.value_usd) == ("200", "500", "2100")
            await run.market.remove(["ABC-*"])
            await run.until(lambda: "opt-summary:ABC-USD" not in venue.subscribed())
            assert "opt-summary:XYZ-USD" in venue.subscribed()
            assert not run.trouble
    assert not venue.violations


@in_loop
async def test_a_chain_of_binance_takes_the_mark_prices_of_an_underlying_and_the_interest_of_an_expiry(
    tmp_path: Path,
) -> None:
    call, put, later, types = (
        "ABC-301225-100-C",
        "ABC-301225-100-P",
        "ABC-301226-100-C",
        ("trade", "ticker", "open_interest"),
    )
    with BinanceVenue("option", [call, put], seed=5, rate=50.0) as venue:
        async with collecting(venue, "binance", "option", ["ABC-*-C"], types, tmp_path) as run:
            await run.ready()
            assert {one.key for one in run.market.state().subscriptions} == {
                f"{call.lower()}@optionTrade",
                f"{call.lower()}@bookTicker",
                "abcusdt@optionMarkPrice",
                "abcusdt@optionOpenInterest@301225",
            }
            await run.until(lambda: told(run, call, "delta")["delta"] and run.of(OpenInterest) and run.of(Trade))
            expected = {"delta": "0.11111964", "gamma": "0.00001245", "vega": "30.63855919", "theta": "-164.26702615"}
            assert told(run, call, *expected) == expected
            expected = {"bid_iv": None, "ask_iv": "98.161161", "mark_iv": "94.08058", "index_price": "104334.6"}
            assert told(run, call, *expected) == expected
            assert told(run, call, "mark_price", "bid")["bid"]
            interest = run.of(OpenInterest)[0]
            assert (interest.contracts, interest.size, interest.value) == ("12.5", "12.5", "1304182.5")
            assert {one.instrument for one in run.records} == {call}
            venue.list_instrument(later)
            await run.until(lambda: "abcusdt@optionMarkPrice" in venue.subscribed())
            await run.market._listing.run_once()
            await run.ready()
            await run.until(lambda: told(run, later, "delta")["delta"])
            assert "abcusdt@optionOpenInterest@301226" in venue.subscribed()
            venue.hang_up()
            await run.until(lambda: run.gaps("optionTrade", "reopened"), emit=1)
            await run.caught_up()
            assert not run.trouble
    assert not venue.violations


@in_loop
async def test_a_perpetual_of_okx_has_mark_and_index_price_premium_and_open_interest_in_dollars(
    tmp_path: Path,
) -> None:
    name, types = "ABC-USDT-SWAP", ("ticker", "funding_rate", "open_interest")
    with OkxVenue([name, "ABC-USD-SWAP"], seed=5, rate=50.0) as venue:
        async with collecting(venue, "okx", "linear", [name], types, tmp_path) as run:
            await run.ready()
            await run.until(lambda: all(told(run, name, "mark_price", "index_price", "last").values()))
            await run.until(lambda: run.of(FundingRate) and run.of(OpenInterest))
            assert run.of(FundingRate)[0].premium == "-0.0003"
            assert run.of(OpenInterest)[0].value_usd == "2100"
            assert {one.instrument for one in run.records} == {name}
            assert not run.trouble
    assert not venue.violations

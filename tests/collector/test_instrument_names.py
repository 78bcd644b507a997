"""Names of instruments in every script, symbols in every spelling, and symbols that one list gives to all markets."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from marketdata_assets.collector.symbols import resolve_symbols
from marketdata_assets.exchanges.binance.instruments import named as binance_named
from marketdata_assets.exchanges.deribit.instruments import from_name
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.okx.instruments import named as okx_named
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from tests.collector.collecting import collecting
from tests.collector.in_loop import in_loop

CHINESE = "币安人生USDT"


@in_loop
async def test_a_symbol_that_is_not_ascii_gets_a_book(tmp_path: Path) -> None:
    names = ["ABCUSDT", CHINESE]
    with BinanceVenue("spot", names, seed=3) as venue:
        async with collecting(venue, "binance", "spot", names, ["trade", "orderbook"], tmp_path) as run:
            await run.live()
            await run.emit(50)
            await run.caught_up()
    assert {one.instrument for one in run.market.state().books if one.status == "live"} == set(names)
    assert not run.trouble


def _listed(exchange: str, *names: str) -> dict[str, Instrument]:
    """Instruments as their names alone say them."""
    read = {"binance": partial(binance_named, "inverse"), "okx": okx_named, "deribit": from_name}[exchange]
    return {name: instrument for name in names if (instrument := read(name))}


def test_one_list_of_symbols_names_instruments_of_every_market() -> None:
    deribit = _listed("deribit", "BTC-PERPETUAL", "ETH-PERPETUAL", "BTC-27DEC30", "BTC_USDC-PERPETUAL", "BTC_USDT")
    okx = _listed("okx", "BTC-USDT", "BTC-USDT-SWAP", "BTC-USD-SWAP", "BTC-USD-301227", "ETH-USDC")
    binance = _listed("binance", "BTCUSD_PERP", "BTCUSD_301227", "ETHUSD_PERP")
    expected = [
        (deribit, "inverse", ["BTC-PERPETUAL", "ETH-PERPETUAL"]),
        (deribit, "linear", ["BTC_USDC-PERPETUAL"]),
        (deribit, "spot", ["BTC_USDT"]),
        (deribit, "option", []),
        (okx, "spot", ["BTC-USDT", "ETH-USDC"]),
        (okx, "linear", ["BTC-USDT-SWAP"]),
        (okx, "inverse", ["BTC-USD-SWAP"]),
        (binance, "inverse", ["BTCUSD_PERP", "ETHUSD_PERP"]),
    ]
    for listed, market_type, names in expected:
        found = resolve_symbols(listed, market_type, ["BTCUSDT", "ETH-USDT"], match_dollar_quotes=True)  # type: ignore[arg-type]
        assert [one.name for one in found.instruments] == names
    assert not resolve_symbols(deribit, "inverse", ["BTCUSDT"]).instruments, (
        "a market's own symbols are taken as they are"
    )


def test_a_symbol_without_an_instrument_has_its_reason() -> None:
    listed = _listed("okx", "BTC-USDT", "BTC-USDC", "LUNA-USDT", "ETH-USDT")
    listed["LUNA-USDT"] = replace(listed["LUNA-USDT"], state="delisted", venue_state="BREAK")
    listed["ETH-USDT-2"] = replace(listed["ETH-USDT"], name="ETH-USDT-2")
    found = resolve_symbols(listed, "spot", ["BTC-USDX", "LUNA-USDT", "ETHUSDT", "btc_usdt", "XXXXX"])
    assert found.problems == {
        "BTC-USDX": "is not listed; nearest: BTC-USDT, BTC-USDC, ETH-USDT",
        "LUNA-USDT": "is listed, but not traded any more (BREAK)",
        "ETHUSDT": "is ambiguous: ETH-USDT, ETH-USDT-2; give the venue's own name",
        "btc_usdt": "is not listed; nearest: BTC-USDT, BTC-USDC, ETH-USDT",
        "XXXXX": "is not listed",
    }


@in_loop
async def test_symbols_for_all_markets_do_not_degrade_a_market_without_them(tmp_path: Path) -> None:
    with DeribitVenue(["BTC-PERPETUAL"], seed=3) as venue:
        options = {"match_dollar_quotes": True}
        async with collecting(
            venue, "deribit", "inverse", ["BTCUSDT", "DOGEUSDT"], ["trade"], tmp_path, **options
        ) as run:
            await run.ready()
            state = run.market.state()
    assert run.market.instruments == ["BTC-PERPETUAL"]
    assert (state.unknown, state.absent) == ((), ("DOGEUSDT",))

"""Every recorded payload of every venue becomes the right kind of record, control or error."""

from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Record,
    Ticker,
    Trade,
    VenueError,
)
from tests.exchanges.recorded_payloads import MARKETS, RECV, outcomes

BECOMES: dict[str, type] = {  # by folder
    **dict.fromkeys(("book", "book_rest"), OrderBook),
    **dict.fromkeys(("kline", "kline_rest"), Kline),
    **dict.fromkeys(("trade", "trade_rest"), Trade),
    **dict.fromkeys(("funding", "funding_rest"), FundingRate),
    **dict.fromkeys(("control", "index", "instruments", "misc"), Control),
    "ticker": Ticker,
    "open_interest": OpenInterest,
    "liquidation": Liquidation,
    "error": VenueError,
}
STATE = {Ticker, FundingRate, OpenInterest}
BUT: dict[str, Any] = {  # a type, or several
    "binance-spot/book/tardis_binance_4.json": Control,  # a whole book waits for the first change
    "binance-spot/book/tardis_binance_8.json": Control,
    "binance-coinm/book/tardis_binance-delivery_1.json": Control,
    "binance-spot/book_rest": Control,
    "binance-usdm/book_rest": Control,
    "binance-usdm/book/tardis_binance-futures_5.json": Gap,  # of levels that somebody invented: they cross
    "binance-usdm/trade/tardis_binance-futures_0.json": DeadLetter,  # has no `a`
    "binance-usdm/funding/tardis_binance-futures_13.json": Ticker,  # dated futures pay no funding
    "binance-coinm/funding/tardis_binance-delivery_3.json": Ticker,
    "binance-options/funding/tardis_binance-european-options-v2_7.json": Ticker,
    "binance-options/funding/tardis_binance-european-options_4.json": Ticker,
    "binance-options/ticker/cmp_ticker_option_10.json": Control,
    "binance-options/ticker/tardis_binance-european-options-v2_0.json": Trade,
    "okx/book/cmp_l2_event_linear_future_snapshot_2.json": Gap,  # cut levels: the checksum tells, as of four others
    "okx/book/cmp_l2_event_spot_snapshot_0.json": Gap,
    "okx/book/naut_ws_books_snapshot.json": Gap,
    "okx/book/tardis_okex-futures-okexfuturesv5_1.json": Gap,
    "okx/book/tardis_okex-okexv5_2.json": Gap,
    "okx/book/naut_ws_books_update.json": Control,
    "okx/book/tardis_okex-spreads_1.json": Control,
    "okx/book/tardis_okex-swap-okexswapv5_0.json": Control,
    "okx/funding/naut_http_get_mark_price.json": Ticker,
    "okx/funding/tardis_okex-futures-okexfuturesv5_3.json": Ticker,
    "okx/funding/tardis_okex-swap-okexswapv5_7.json": DeadLetter,  # it says no rate
    "okx/ticker/tardis_okex-futures-okexfuturesv5_10.json": Control,
    "okx/ticker/tardis_okex-options-okexoptionsv5_1.json": Control,
    "okx/ticker/tardis_okex-spreads_2.json": Control,
    "okx/ticker/tardis_okex-swap-okexswapv5_4.json": Control,
    "okx/trade/tardis_okex-okexv5_0.json": Control,
    "deribit/book/vike_btc_perpetual_100ms.ndjson": {Control, OrderBook, Gap},  # a cut book changes what it lacks
    "deribit/liquidation/tardis_deribit_10.json": {Trade, Liquidation},
    "deribit/ticker": {Ticker, OpenInterest},
    "deribit/ticker/cmp_bbo_inverse_future_0.json": Ticker,
    "deribit/ticker/naut_ws_quote.json": Ticker,
    "deribit/ticker/tardis_deribit_1.json": Ticker,
    "deribit/ticker/tardis_deribit_15.json": Control,  # a combo
    "deribit/ticker/tardis_deribit_5.json": STATE,
    "deribit/book_rest": {OrderBook, Ticker, OpenInterest},
    "deribit/book_rest/naut_http_get_order_book.json": {OrderBook, *STATE},
    "deribit/open_interest/cmp_open_interest_inverse_future_0.json": {Ticker, OpenInterest},
    "deribit/open_interest/cmp_open_interest_inverse_swap_2.json": STATE,
}


@pytest.mark.parametrize("folder", MARKETS)
def test_every_payload_becomes_what_it_should(fixtures: Path, folder: str) -> None:
    exchange, market_type = MARKETS[folder]
    paths = [path for path in sorted((fixtures / folder).rglob("*.*")) if path.parent.name != "capture"]
    paths = [path for path in paths if not (path.parent.name == "instruments" and path.suffix == ".ndjson")]
    assert len(paths) >= 10
    for path in paths:
        name, kind = path.relative_to(fixtures).as_posix(), path.parent.name
        expected = BUT.get(name) or BUT.get(f"{folder}/{kind}") or BECOMES[kind]
        made = outcomes(fixtures, name)
        assert {type(one) for one in made} == (expected if isinstance(expected, set) else {expected}), name
        for one in made:
            if isinstance(one, Record):
                assert (one.exchange, one.ts_recv) == (exchange, RECV)
                assert one.market_type == market_type or not market_type
                assert one.symbol.startswith(one.instrument[:3])

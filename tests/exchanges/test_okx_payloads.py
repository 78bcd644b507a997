"""Recorded payloads of OKX: the fields of their records, and what controls and errors say."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    Liquidation,
    OpenInterest,
    Outcome,
    Ticker,
    Trade,
    VenueError,
)
from tests.exchanges import recorded_payloads
from tests.exchanges.recorded_payloads import API, MS, RECV

BTC_USDT_SWAP = ("okx", "linear", "BTC-USDT", "BTC-USDT-SWAP")
BTC_USDT = ("okx", "spot", "BTC-USDT", "BTC-USDT")
BTC_USD_SWAP = ("okx", "inverse", "BTC-USD", "BTC-USD-SWAP")

LISTS = "instruments/instruments_2022-05-13.ndjson"


def outcomes(fixtures: Path, name: str, feed: OkxFeed | None = None) -> list[Outcome]:
    return recorded_payloads.outcomes(fixtures, f"okx/{name}", feed)


def only(fixtures: Path, name: str, feed: OkxFeed | None = None) -> Any:
    (outcome,) = outcomes(fixtures, name, feed)
    return outcome


@pytest.fixture
def listed(fixtures: Path) -> OkxFeed:
    """A feed that knows the swaps of 2022."""
    feed = OkxFeed(strict=False)
    for line in (fixtures / "okx" / LISTS).read_bytes().splitlines()[:3]:
        data = line.partition(b'"data":')[2][:-1]
        assert feed.answer(API["okx"] + "public/instruments", data, RECV)[0].kind == "notice"  # type: ignore[union-attr]
    return feed


def test_keepalive_is_bare_text(fixtures: Path) -> None:
    feed = OkxFeed(strict=False)
    kinds = [feed.push(line, RECV) for line in (fixtures / "okx/control/pingpong.txt").read_bytes().split()]
    assert kinds == [[Control("heartbeat")], [Control("pong")]]


def test_trade_of_a_linear_swap_has_contracts_and_coins(fixtures: Path, listed: OkxFeed) -> None:
    assert only(fixtures, "trade/cmp_trade_linear_swap_2.json", listed) == Trade(
        *BTC_USDT_SWAP, 1646312440645 * MS, RECV, "219066264", "43568.8", "0.07", "7", "buy", None, None, 219066264
    )


def test_trade_of_an_inverse_swap_is_worth_its_dollars(fixtures: Path, listed: OkxFeed) -> None:
    trade = only(fixtures, "trade/cmp_trade_inverse_swap_4.json", listed)
    assert (trade.market_type, trade.contracts, trade.side) == ("inverse", "1", "sell")
    assert abs(Fraction(trade.size) - 100 / Fraction("43574.9")) < Fraction(1, 10**18)


def test_trade_on_a_spot_market_has_no_contracts(fixtures: Path) -> None:
    trade = only(fixtures, "trade/cmp_trade_spot_0.json")
    assert (trade.market_type, trade.symbol, trade.size, trade.contracts) == ("spot", "BTC-USDT", "0.00373695", None)


def test_contracts_of_unknown_value_have_no_size_in_coins(fixtures: Path) -> None:
    trade = only(fixtures, "trade/tardis_okex-options-okexoptionsv5_6.json")
    assert (trade.market_type, trade.symbol) == ("option", "BTC-USD-211224-56000-C")
    assert (trade.size, trade.contracts) == (None, "1")


def test_book_of_five_levels(fixtures: Path) -> None:
    book = only(fixtures, "book/cmp_l2_topk_inverse_swap_4.json")
    assert (book.kind, book.unit, book.market_type, book.first_id, book.last_id) == (
        "snapshot",
        "contracts",
        "inverse",
        None,
        None,
    )
    assert book.bids[:2] == (("29501.9", "77"), ("29500.7", "194"))
    assert book.asks[-1] == ("29505", "3")
    assert book.ts_event == 1652686260965 * MS


def test_option_book_with_one_side_agrees_with_its_checksum(fixtures: Path) -> None:
    feed = OkxFeed(strict=False)
    book = only(fixtures, "book/cmp_l2_event_option_snapshot_4.json", feed)
    assert book.asks == (("0.0005", "305"), ("0.001", "550"))
    assert book.bids == ()
    assert feed.books["books-l2-tbt:BTC-USD-220304-32000-P"].checksum_ok == 1


def test_book_that_was_asked_for(fixtures: Path) -> None:
    book = only(fixtures, "book_rest/naut_http_get_order_book.json")
    assert book.asks[2] == ("41007.0", "2.05842530")  # zeros at the end stay
    assert (book.symbol, book.unit, book.kind, len(book.bids)) == ("BTC-USDT", "base", "snapshot", 3)


def test_spot_ticker_counts_its_volume_in_coins_and_in_quotes(fixtures: Path) -> None:
    assert only(fixtures, "ticker/cmp_ticker_spot_0.json") == Ticker(
        *BTC_USDT,
        1654166073135 * MS,
        RECV,
        bid="29934",
        bid_size="0.05181315",
        ask="29934.1",
        ask_size="0.30918743",
        unit="base",
        last="29934",
        last_size="0.00001468",
        open="31588.3",
        high="31899.8",
        low="29318.7",
        volume="9935.14546361",
        quote_volume="302140058.01215828",
    )


def test_swap_ticker_counts_its_volume_in_contracts_and_in_coins(fixtures: Path) -> None:
    ticker = only(fixtures, "ticker/cmp_ticker_linear_swap_4.json")
    assert (ticker.unit, ticker.contracts, ticker.volume, ticker.quote_volume) == (
        "contracts",
        "10854053",
        "108540.53",
        None,
    )


def test_best_prices(fixtures: Path) -> None:
    ticker = only(fixtures, "ticker/cmp_bbo_linear_swap_4.json")
    assert (ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size) == ("20386.7", "50", "20386.8", "7")
    assert (ticker.unit, ticker.last, ticker.update_id) == ("contracts", None, None)


def test_volatilities_are_percent_and_may_be_missing(fixtures: Path) -> None:
    first, second = outcomes(fixtures, "ticker/tardis_okex-options-okexoptionsv5_5.json")
    assert isinstance(first, Ticker)
    assert isinstance(second, Ticker)
    assert (first.mark_iv, first.bid_iv, first.ask_iv) == ("77.94507758", "74.21960156", "82.03208593")
    assert (second.instrument, second.bid_iv) == ("ETH-USD-211231-9600-C", None)
    assert (first.delta, first.gamma) == ("0.2038286081", "0.0013437829"), "in USD, not in coins"
    assert (first.vega, first.theta, first.rho) == ("0.7647227087", "-16.4798150221", None)
    assert first.underlying_price is None, "messages of before 2023 have no forward"


def test_mark_price(fixtures: Path) -> None:
    ticker = only(fixtures, "funding/tardis_okex-futures-okexfuturesv5_3.json")
    assert (ticker.symbol, ticker.mark_price, ticker.bid) == ("FIL-USDT-220325", "36.232", None)
    assert only(fixtures, "funding/naut_http_get_mark_price.json").mark_price == "84660.1"


def test_candle_of_seven_columns_does_not_say_whether_it_is_closed(fixtures: Path) -> None:
    assert only(fixtures, "kline/cmp_candlestick_linear_swap_4.json") == Kline(
        *BTC_USDT_SWAP,
        None,
        RECV,
        interval="1m",
        open_time=1662716640000 * MS,
        close_time=1662716700000 * MS,
        open="20702.4",
        high="20710",
        low="20702.3",
        close="20703.8",
        volume="40.7",
        contracts="4070",
        quote_volume=None,
        trades=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        closed=None,
    )
    spot = only(fixtures, "kline/cmp_candlestick_spot_0.json")
    assert (spot.volume, spot.contracts, spot.quote_volume) == ("0.0111536", None, "333.86246417")


def test_candle_of_nine_columns(fixtures: Path) -> None:
    day = only(fixtures, "kline/naut_ws_candle.json")
    assert (day.interval, day.close_time - day.open_time) == ("1d", 86_400_000 * MS)
    assert (day.volume, day.quote_volume, day.closed) == ("45247", "5529.5858061", True)
    first, second = outcomes(fixtures, "kline_rest/naut_http_get_candlesticks.json")
    assert isinstance(first, Kline)
    assert isinstance(second, Kline)
    assert second.open_time == first.close_time
    assert first.closed is False


def test_funding_rate_with_its_next_one(fixtures: Path) -> None:
    assert only(fixtures, "funding/naut_ws_funding_rate.json") == FundingRate(
        *BTC_USDT_SWAP, 1744590349506 * MS, RECV, "0.0001", 1744590349506 * MS, "0.0002", 8
    )
    old = only(fixtures, "funding/cmp_funding_rate_inverse_swap_0.json")
    assert (old.rate, old.ts_event, old.interval_hours) == ("0.0000734174532791", None, None)


def test_funding_rate_of_the_past_is_the_one_that_was_paid(fixtures: Path) -> None:
    first, second = outcomes(fixtures, "funding_rest/naut_http_get_funding_rate_history.json")
    assert isinstance(first, FundingRate)
    assert isinstance(second, FundingRate)
    assert (first.rate, first.funding_time) == ("0.00015", 1704067200000 * MS)
    assert second.rate == "-0.00002"


def test_message_without_its_rate_is_kept_aside_whole(fixtures: Path) -> None:
    name = "funding/tardis_okex-swap-okexswapv5_7.json"
    letter = only(fixtures, name)
    assert letter.raw == (fixtures / "okx" / name).read_bytes()
    assert "fundingRate" in letter.cause
    assert letter.ts_recv == RECV


def test_open_interest_in_contracts_coins_and_dollars(fixtures: Path, listed: OkxFeed) -> None:
    assert outcomes(fixtures, "open_interest/cmp_open_interest_linear_swap_4.json", listed)[0] == OpenInterest(
        *BTC_USD_SWAP, 1654348739678 * MS, RECV, "4093058", "13842.2084993270069734", "409305800"
    )
    option = only(fixtures, "open_interest/tardis_okex-options-okexoptionsv5_2.json")
    assert (option.contracts, option.size, option.value) == ("36", "3.6", None)


def test_forced_order_at_its_bankruptcy_price(fixtures: Path, listed: OkxFeed) -> None:
    assert only(fixtures, "liquidation/live_liquidation-orders_2026-10-09.json", listed) == Liquidation(
        *BTC_USDT_SWAP, 1791565600771 * MS, RECV, "sell", "82655.7", "0.0855", "8.55"
    )
    polled = only(fixtures, "liquidation/tardis_okex-futures-okexfuturesv5_8.json")
    assert (polled.instrument, polled.side, polled.contracts) == ("BTC-USD-220624", "buy", "12")


def test_errors_and_notices_say_what_the_venue_said(fixtures: Path) -> None:
    refused = only(fixtures, "error/ws_60018_wrong_channel.json")
    assert (refused.code, refused.rate_limited) == (60018, False)
    assert "liquidation-orders" in refused.message
    assert only(fixtures, "error/http_50011.json") == VenueError(50011, "Too Many Requests", rate_limited=True)
    assert only(fixtures, "control/ws_notice_64008.json") == Control("notice", "64008 upgrade")
    assert only(fixtures, "control/ws_subscribe_ack_dropped_filter.json") == Control("ack", "liquidation-orders:SWAP")
    assert only(fixtures, "trade/tardis_okex-okexv5_0.json") == Control("ack", "trades:BTC-USDT")
    assert only(fixtures, "ticker/tardis_okex-spreads_2.json") == Control(
        "ignored", "sprd-bbo-tbt:BTC-USD-SWAP_BTC-USD-231229"
    )

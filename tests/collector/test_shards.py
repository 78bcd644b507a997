"""Shards and the plan of sockets: every instrument is somebody's, and nobody else's; no socket has more than it may."""

import subprocess
import sys
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.collector.config import DataType
from marketdata_assets.collector.connections import Shard, adapter_for
from marketdata_assets.collector.connections.market import plan_sockets
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.symbols import Resolved, resolve_symbols
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.binance.instruments import named
from marketdata_assets.exchanges.deribit.instruments import from_name
from marketdata_assets.exchanges.okx.instruments import named as okx_named
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.venue_adapter import Subscription

NAMES = st.lists(st.text("ABCDEFGHIJ", min_size=2, max_size=6).map(lambda base: f"{base}USDT"), unique=True)


@given(NAMES, st.integers(1, 7))
def test_each_instrument_belongs_to_exactly_one_shard(names: list[str], count: int) -> None:
    takers = [[Shard(index, count).takes("binance", name) for index in range(1, count + 1)] for name in names]
    assert all(sum(one) == 1 for one in takers)


def test_shards_are_about_equally_large() -> None:
    taken = sum(Shard(1, 4).takes("okx", f"{number}-USDT") for number in range(4000))
    assert 850 < taken < 1150


def test_a_shard_is_the_same_in_another_process() -> None:
    code = (
        "from marketdata_assets.collector.connections import Shard;"
        "print([Shard(1, 3).takes('okx', f'{n}-USDT') for n in range(50)])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str([Shard(1, 3).takes("okx", f"{number}-USDT") for number in range(50)])
    assert "True" in output and "False" in output


def test_a_shard_is_written_i_of_n() -> None:
    assert Shard.read(" 2/3 ") == Shard(2, 3)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2"])
def test_an_invalid_shard_is_rejected_with_the_expected_form(text: str) -> None:
    with pytest.raises(CollectorError, match="expected i/n"):
        Shard.read(text)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60)), max_size=150), st.integers(1, 20))
def test_the_plan_has_every_subscription_once_on_as_few_sockets_as_possible(
    wanted: list[tuple[str, int]], most: int
) -> None:
    subscriptions = [Subscription(f"{url}{number}", url, "X", "trade", ("trade",), None) for url, number in wanted]
    made = plan_sockets(subscriptions, most)
    assert sorted(one.key for _, part in made for one in part) == sorted({one.key for one in subscriptions})
    for url, part in made:
        assert 1 <= len(part) <= most
        assert {one.url for one in part} == {url}
    for wanted_url in "ab":
        sizes = [len(part) for url, part in made if url == wanted_url]
        assert sizes == [] or max(sizes) - min(sizes) <= 1
        assert len(sizes) == -(-sum(sizes) // most)


def _keys(exchange: str, market_type: MarketType, name: str) -> dict[str, list[str]]:
    """What is subscribed to for each type of record, as `address-path key`."""
    one = {"binance": lambda: named(market_type, name), "okx": lambda: okx_named(name)}.get(
        exchange, lambda: from_name(name)
    )()
    assert one
    adapter = adapter_for(exchange, market_type, socket_url="ws://h")
    return {
        tag: [f"{each.url.removeprefix('ws://h')} {each.key}" for each in adapter.subscriptions(one, [tag])]
        for tag in get_args(DataType)
        if tag != "instrument_state" and tag in venues.find(exchange).markets[market_type].data_types
    }


def test_subscriptions_of_each_venue() -> None:
    assert _keys("binance", "spot", "ABCUSDT") == {
        "trade": ["/stream abcusdt@trade"],
        "orderbook": ["/stream abcusdt@depth@100ms"],
        "kline": ["/stream abcusdt@kline_1m"],
        "ticker": ["/stream abcusdt@ticker", "/stream abcusdt@bookTicker"],
    }
    assert _keys("binance", "linear", "ABCUSDT") == {
        "trade": ["/market/stream abcusdt@aggTrade"],
        "orderbook": ["/public/stream abcusdt@depth@100ms"],
        "kline": ["/market/stream abcusdt@kline_1m"],
        "ticker": ["/market/stream abcusdt@ticker", "/public/stream abcusdt@bookTicker"],
        "funding_rate": ["/market/stream abcusdt@markPrice"],
        "open_interest": [],  # polled
        "liquidation": ["/market/stream abcusdt@forceOrder"],
    }
    assert _keys("binance", "inverse", "ABCUSD_250328")["funding_rate"] == []  # a dated future pays none
    assert _keys("okx", "linear", "ABC-USDT-SWAP") == {
        "trade": ["/ws/v5/public trades:ABC-USDT-SWAP"],
        "orderbook": ["/ws/v5/public books:ABC-USDT-SWAP"],
        "kline": ["/ws/v5/business candle1m:ABC-USDT-SWAP"],
        "ticker": [
            "/ws/v5/public tickers:ABC-USDT-SWAP",
            "/ws/v5/public mark-price:ABC-USDT-SWAP",
            "/ws/v5/public index-tickers:ABC-USDT",
        ],
        "funding_rate": ["/ws/v5/public funding-rate:ABC-USDT-SWAP"],
        "open_interest": ["/ws/v5/public open-interest:ABC-USDT-SWAP"],
        "liquidation": ["/ws/v5/public liquidation-orders:SWAP"],
    }
    assert _keys("okx", "linear", "ABC-USDT-250328")["liquidation"] == ["/ws/v5/public liquidation-orders:FUTURES"]
    assert _keys("okx", "linear", "ABC-USDT-250328")["funding_rate"] == []
    assert _keys("deribit", "inverse", "ABC-PERPETUAL") == {
        "trade": ["/ws/api/v2 trades.ABC-PERPETUAL.100ms"],
        "orderbook": ["/ws/api/v2 book.ABC-PERPETUAL.100ms"],
        "kline": ["/ws/api/v2 chart.trades.ABC-PERPETUAL.1"],
        "ticker": ["/ws/api/v2 ticker.ABC-PERPETUAL.100ms"],
        "funding_rate": ["/ws/api/v2 ticker.ABC-PERPETUAL.100ms"],
        "open_interest": ["/ws/api/v2 ticker.ABC-PERPETUAL.100ms"],
        "liquidation": ["/ws/api/v2 trades.ABC-PERPETUAL.100ms"],
    }


def test_default_urls_are_those_of_the_venues() -> None:
    def urls(exchange: str, market_type: MarketType, name: str) -> set[str]:
        one = {"binance": named(market_type, name), "okx": okx_named(name), "deribit": from_name(name)}[exchange]
        assert one
        adapter = adapter_for(exchange, market_type)
        types = venues.find(exchange).markets[market_type].data_types
        return {each.url for each in adapter.subscriptions(one, types)}

    assert urls("binance", "spot", "ABCUSDT") == {"wss://stream.binance.com:9443/stream"}
    assert urls("binance", "linear", "ABCUSDT") == {
        "wss://fstream.binance.com/public/stream",
        "wss://fstream.binance.com/market/stream",
    }
    assert urls("okx", "spot", "ABC-USDT") == {
        "wss://ws.okx.com:8443/ws/v5/public",
        "wss://ws.okx.com:8443/ws/v5/business",
    }
    assert urls("deribit", "spot", "ABC_USDC") == {"wss://www.deribit.com/ws/api/v2"}


def test_symbols_resolve_by_the_venues_name_and_by_ours() -> None:
    swap, spot = okx_named("ABC-USDT-SWAP"), okx_named("ABC-USDT")
    assert swap and spot
    known = {one.name: one for one in (swap, spot)}
    for symbol in ("ABC-USDT-SWAP", "ABC-USDT", "ABCUSDT", "abc-usdt"):
        assert resolve_symbols(known, "linear", [symbol]) == Resolved([swap], {})
    found = resolve_symbols(known, "spot", ["ABC-USDT-SWAP", "ABC-USDT", "ABCUSDT"])
    assert found == Resolved([spot], {"ABC-USDT-SWAP": "is not listed; nearest: ABC-USDT"})


@pytest.mark.parametrize(
    ("exchange", "market_type", "name", "choices", "keys"),
    [
        ("binance", "spot", "ABCUSDT", {"book_speed": "1000ms"}, ["abcusdt@trade", "abcusdt@depth"]),
        ("binance", "spot", "ABCUSDT", {"trade_channel": "aggTrade"}, ["abcusdt@aggTrade", "abcusdt@depth@100ms"]),
        ("binance", "linear", "ABCUSDT", {"book_speed": "250ms"}, ["abcusdt@aggTrade", "abcusdt@depth"]),
        ("binance", "linear", "ABCUSDT", {"book_speed": "500ms"}, ["abcusdt@aggTrade", "abcusdt@depth@500ms"]),
        ("okx", "spot", "ABC-USDT", {"book_channel": "books5"}, ["trades:ABC-USDT", "books5:ABC-USDT"]),
        (
            "deribit", "inverse", "ABC-PERPETUAL", {"book_speed": "agg2"},
            ["trades.ABC-PERPETUAL.100ms", "book.ABC-PERPETUAL.agg2"],
        ),
    ],
)  # fmt: skip
def test_chosen_channels_are_subscribed_to(
    exchange: str, market_type: MarketType, name: str, choices: Any, keys: list[str]
) -> None:
    instrument = venues.find(exchange).feed(market_type, None, strict=False).instruments[name]
    adapter = adapter_for(exchange, market_type, choices=choices)
    found = adapter.subscriptions(instrument, ["trade", "orderbook"])
    assert [one.key for one in found] == keys
    assert adapter.trade_stream == found[0].stream

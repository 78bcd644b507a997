"""Binance's lists of instruments, addresses, subscriptions and their confirmation."""

import json
from collections.abc import Sequence

import msgspec
import pytest

from marketdata_assets.exchanges.binance.instruments import ExchangeInfo, Listed, instruments
from marketdata_assets.exchanges.binance.session import STREAMS_PER_REQUEST, Session, stream_name, url_of
from marketdata_assets.exchanges.errors import BadInstruments
from marketdata_assets.exchanges.records import Control, VenueError
from marketdata_assets.exchanges.venue_adapter import SubscriptionReply


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


def test_addresses() -> None:
    trade, depth, mark = (stream_name(stream, "ABCUSDT") for stream in ("aggTrade", "depth", "markPrice"))
    assert url_of("spot", trade) == "wss://stream.binance.com:9443/stream"
    assert url_of("linear", trade) == url_of("linear", mark) == "wss://fstream.binance.com/market/stream"
    assert url_of("linear", depth) == url_of("linear", "!bookTicker") == "wss://fstream.binance.com/public/stream"
    assert url_of("linear", "!forceOrder@arr") == "wss://fstream.binance.com/market/stream"
    assert url_of("inverse", depth) == "wss://dstream.binance.com/stream"
    assert stream_name("kline", "ABCUSDT", "1M") == "abcusdt@kline_1M"
    assert stream_name("depth", "ABCUSDT", "100ms") == "abcusdt@depth@100ms"


def test_requests_are_of_so_many_streams_and_are_confirmed_one_by_one() -> None:
    session = Session("spot")
    first = [f"{number}@trade" for number in range(STREAMS_PER_REQUEST)]
    sent = [json.loads(one) for one in session.subscribe([*first, "0@trade", "c@trade"])]
    assert sent == [
        {"method": "SUBSCRIBE", "params": first, "id": 1},
        {"method": "SUBSCRIBE", "params": ["c@trade"], "id": 2},
    ]
    assert session.read_reply(b"", [Control("ack", "2")]) == SubscriptionReply(confirmed=("c@trade",))
    for number in ("2", "x"):
        assert session.read_reply(b"", [Control("ack", number)]) == SubscriptionReply()
    refused = session.read_reply(b"", [VenueError(2, "Invalid request")])
    assert refused == SubscriptionReply(rejected=tuple((stream, "2 Invalid request") for stream in first))
    assert session.read_reply(b"", [VenueError(2, "Invalid request")]) == SubscriptionReply()
    assert session.streams == {"c@trade"}
    (unsubscribed,) = session.unsubscribe(["c@trade", "x@trade"])
    assert json.loads(unsubscribed) == {"method": "UNSUBSCRIBE", "params": ["c@trade", "x@trade"], "id": 3}


def test_a_stream_that_is_not_confirmed_is_requested_again() -> None:
    session = Session("spot")
    session.subscribe(["a@trade", "b@trade"])
    assert [json.loads(one)["params"] for one in session.subscribe(["b@trade"])] == [["b@trade"]]
    assert session.asked == {1: ("a@trade",), 2: ("b@trade",)}
    session.read_reply(b"", [Control("ack", "2")])
    assert session.subscribe(["b@trade"]) == []


def test_no_more_streams_than_a_connection_may_have() -> None:
    session = Session("option")
    session.subscribe(f"{number}@trade" for number in range(150))
    with pytest.raises(ValueError, match="may have 200"):
        session.subscribe(f"{number}@trade" for number in range(140, 201))

"""Subscriptions of OKX: requests within its limits, acks compared with what was asked for."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.okx import session
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.okx.session import Session
from marketdata_assets.exchanges.okx.wire import Arg
from marketdata_assets.exchanges.records import Control, Liquidation, Trade

FORCED = "liquidation-orders"


def args_of(requests: list[bytes]) -> list[dict[str, str]]:
    return [arg for request in requests for arg in json.loads(request)["args"]]


def ack(**arg: str) -> Control:
    """What the feed makes of an ack."""
    (outcome,) = OkxFeed().push(json.dumps({"event": "subscribe", "arg": arg}).encode(), 1)
    assert isinstance(outcome, Control)
    return outcome


def forced(instrument: str, **more: Any) -> Liquidation:
    fields = {"market_type": "linear", "symbol": "ABC-USDT", "ts_event": 1, "ts_recv": 1, "price": "1", "size": "1"}
    return Liquidation("okx", instrument=instrument, side="buy", contracts="1", **{**fields, **more})


@given(
    st.lists(st.integers(1, 60), max_size=40),
    st.integers(1, 10),
    st.integers(150, 400),
)
def test_requests_keep_to_both_limits_and_leave_nothing_out(lengths: list[int], most: int, most_bytes: int) -> None:
    args = [Arg("trades", "A" * length) for length in lengths]
    requests = session.subscriptions(args, most=most, most_bytes=most_bytes)
    assert all(len(request) <= most_bytes for request in requests)
    assert all(1 <= len(args_of([request])) <= most for request in requests)
    assert args_of(requests) == [{"channel": "trades", "instId": arg.inst_id} for arg in args]
    for request, following in pairwise(requests):
        room = most_bytes - len(request) - len(json.dumps(args_of([following])[0], separators=(",", ":")))
        assert len(args_of([request])) == most or room < 2  # no request more than needed


def test_request_says_only_what_is_asked() -> None:
    told = session.subscriptions([Arg("funding-rate", "ABC-USDT-SWAP"), Arg("opt-summary", inst_family="ABC-USD")])
    assert [json.loads(one) for one in told] == [
        {
            "op": "subscribe",
            "args": [
                {"channel": "funding-rate", "instId": "ABC-USDT-SWAP"},
                {"channel": "opt-summary", "instFamily": "ABC-USD"},
            ],
        }
    ]
    assert json.loads(session.unsubscriptions([Arg("trades", "ABC-USDT")])[0])["op"] == "unsubscribe"


def test_channel_longer_than_a_request_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        session.subscriptions([Arg("trades", "A" * 200)], most_bytes=100)


@pytest.mark.parametrize(
    ("channel", "url"),
    [
        ("trades", session.PUBLIC_URL),
        ("books", session.PUBLIC_URL),
        ("candle1m", session.BUSINESS_URL),
        ("trades-all", session.BUSINESS_URL),
        ("sprd-bbo-tbt", session.BUSINESS_URL),
    ],
)
def test_channels_have_their_addresses(channel: str, url: str) -> None:
    assert session.url_of(Arg(channel, "ABC-USDT")) == url


def test_session_knows_what_is_not_confirmed_yet() -> None:
    mine = Session()
    trades, books = Arg("trades", "ABC-USDT"), Arg("books", "ABC-USDT")
    assert len(args_of(mine.ask([trades, books, trades]))) == 2
    assert mine.ask([books]) == []
    assert mine.heard(ack(channel="trades", instId="ABC-USDT", more="x")) is None
    assert mine.unconfirmed() == [books]
    assert args_of(mine.reopened()) == [{"channel": one, "instId": "ABC-USDT"} for one in ("trades", "books")]
    assert mine.unconfirmed() == [trades, books]


def test_ack_of_something_else_is_told() -> None:
    mine = Session()
    mine.ask([Arg("trades", "ABC-USDT")])
    assert mine.heard(ack(channel="trades", instId="ABC-USDC")) == "trades:ABC-USDC was confirmed but never requested"
    assert mine.unconfirmed() == [Arg("trades", "ABC-USDT")]


def test_dropped_filter_is_told() -> None:
    mine = Session()
    mine.ask([Arg("estimated-price", inst_type="FUTURES", inst_family="ABC-USD")])
    told = mine.heard(ack(channel="estimated-price", instType="FUTURES"))
    assert told is not None
    assert "filter is dropped" in told
    assert mine.narrowed == {"estimated-price:FUTURES:ABC-USD": "estimated-price:FUTURES"}
    assert mine.unconfirmed() == []


def test_ended_subscription_is_asked_for_no_more() -> None:
    mine = Session()
    mine.ask([Arg("trades", "ABC-USDT")])
    assert mine.heard(Control("ack", "unsubscribe trades:ABC-USDT")) is None
    assert mine.reopened() == []


def test_forced_orders_are_asked_for_by_market_and_filtered_here() -> None:
    mine = Session()
    wanted = [
        Arg(FORCED, inst_type="SWAP", inst_id="ABC-USDT-SWAP"),
        Arg(FORCED, inst_type="SWAP", inst_family="ABD-USDT"),
        Arg(FORCED, inst_type="FUTURES"),
    ]
    assert args_of(mine.ask(wanted)) == [{"channel": FORCED, "instType": kind} for kind in ("SWAP", "FUTURES")]
    taken = [forced(name) for name in ("ABC-USDT-SWAP", "ABD-USDT-SWAP", "ABE-USDT-SWAP", "ABE-USDT-250328")]
    assert [mine.takes(one) for one in taken] == [True, True, False, True]
    assert not mine.takes(forced("ABC-USDT", market_type="spot"))
    assert mine.takes(Trade("okx", "spot", "A-B", "A-B", 1, 1, "1", "1", "1", None, "buy"))


def test_all_forced_orders_are_taken_where_none_was_asked_for_by_name() -> None:
    assert Session().takes(forced("ABC-USDT-SWAP"))

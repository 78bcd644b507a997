"""Subscriptions of Bybit: requests within its limits, and what its answers settle."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.bybit import session
from marketdata_assets.exchanges.bybit.session import Session
from marketdata_assets.exchanges.bybit.wire import Answer
from marketdata_assets.exchanges.venue_adapter import SubscriptionReply


def told(request: bytes) -> dict[str, Any]:
    return dict(json.loads(request))


def refused(message: str, request: bytes) -> Answer:
    return Answer("subscribe", success=False, ret_msg=message, req_id=told(request)["req_id"])


@given(st.integers(0, 45))
def test_requests_keep_to_the_limit_and_leave_nothing_out(count: int) -> None:
    topics = [f"publicTrade.A{number}USDT" for number in range(count)]
    one = Session()
    requests = [told(request) for request in one.subscribe(topics)]
    assert [topic for request in requests for topic in request["args"]] == topics
    assert all(1 <= len(request["args"]) <= session.TOPICS_PER_REQUEST for request in requests)
    assert len({request["req_id"] for request in requests}) == len(requests) == -(-count // session.TOPICS_PER_REQUEST)
    ended = [told(request) for request in one.unsubscribe(topics)]
    assert [topic for request in ended for topic in request["args"]] == topics
    assert not any("req_id" in request for request in ended)


def test_as_many_topics_as_a_socket_takes_are_within_the_characters() -> None:
    longest = "orderbook.1000.1000000BABYDOGEUSDT-25DEC26"
    assert len(json.dumps([longest] * session.TOPICS, separators=(",", ":"))) < session.ARGS_CHARACTERS


def test_success_confirms_all_topics_of_the_request() -> None:
    one = Session()
    first, second = one.subscribe([f"publicTrade.A{number}" for number in range(12)])
    settled = one.answered(Answer("subscribe", req_id=told(second)["req_id"]))
    assert settled.confirmed == ("publicTrade.A10", "publicTrade.A11")
    assert one.answered(Answer("subscribe", req_id=told(first)["req_id"])).confirmed == tuple(told(first)["args"])
    assert one.pending == {}


@pytest.mark.parametrize(
    "message", ["error:handler not found,topic:kline.7.B", "Invalid symbol :[kline.7.B]", "error: topic: kline.7.B"]
)
def test_one_unknown_topic_is_rejected_and_the_others_are_requested_again(message: str) -> None:
    one = Session()
    [request] = one.subscribe(["publicTrade.A", "kline.7.B", "publicTrade.C"])
    settled = one.answered(refused(message, request))
    assert settled.rejected == (("kline.7.B", message),)
    assert settled.confirmed == ()
    assert settled.reply is not None
    assert told(settled.reply)["args"] == ["publicTrade.A", "publicTrade.C"]
    again = one.answered(Answer("subscribe", req_id=told(settled.reply)["req_id"]))
    assert again.confirmed == ("publicTrade.A", "publicTrade.C")


def test_topic_that_is_subscribed_already_is_confirmed() -> None:
    one = Session()
    [request] = one.subscribe(["publicTrade.A", "publicTrade.B"])
    settled = one.answered(refused("error:already subscribed,topic:publicTrade.B", request))
    assert (settled.confirmed, settled.rejected) == (("publicTrade.B",), ())
    assert settled.reply is not None
    assert told(settled.reply)["args"] == ["publicTrade.A"]


def test_error_that_names_no_topic_rejects_a_single_one_only() -> None:
    one = Session()
    [request] = one.subscribe(["publicTrade.A"])
    assert one.answered(refused("no", request)).rejected == (("publicTrade.A", "no"),)
    [request] = one.subscribe(["publicTrade.A", "publicTrade.B"])
    assert one.answered(refused("args size >10", request)) == SubscriptionReply()


def test_answer_to_nothing_settles_nothing() -> None:
    assert Session().answered(Answer("subscribe", req_id="7")) == SubscriptionReply()
    assert Session().answered(Answer("subscribe", success=False, ret_msg="error:topic:x")) == SubscriptionReply()

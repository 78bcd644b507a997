"""Subscriptions of OKX: requests within its limits, to the address that serves a channel."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marketdata_assets.exchanges.okx import session
from marketdata_assets.exchanges.okx.wire import Arg


def args_of(requests: list[bytes]) -> list[dict[str, str]]:
    return [arg for request in requests for arg in json.loads(request)["args"]]


@example([700] * 200)
@example([10] * 250)
@given(st.lists(st.integers(1, 3000), max_size=300))
def test_requests_keep_to_both_limits_and_leave_nothing_out(lengths: list[int]) -> None:
    args = [Arg("trades", "A" * length) for length in lengths]
    requests = session.subscriptions(args)
    assert all(len(request) <= session.MESSAGE_BYTES for request in requests)
    assert all(1 <= len(args_of([request])) <= session.CHANNELS_PER_REQUEST for request in requests)
    assert args_of(requests) == [{"channel": "trades", "instId": arg.inst_id} for arg in args]
    for request, following in pairwise(requests):
        room = session.MESSAGE_BYTES - len(request) - len(json.dumps(args_of([following])[0], separators=(",", ":")))
        assert len(args_of([request])) == session.CHANNELS_PER_REQUEST or room < 2  # no request more than needed


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
    assert json.loads(session.subscriptions([Arg("trades", "ABC-USDT")], "unsubscribe")[0])["op"] == "unsubscribe"


def test_channel_longer_than_a_request_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        session.subscriptions([Arg("trades", "A" * session.MESSAGE_BYTES)])


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

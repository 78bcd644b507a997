"""What is said to Deribit, and that silence about a channel is taken for the refusal that it is."""

import json

import pytest

from marketdata_assets.exchanges.deribit.session import (
    CHANNELS_PER_CONNECTION,
    HEARTBEAT_SECONDS,
    NO_SUCH_CHANNEL,
    Session,
    channel,
)
from marketdata_assets.exchanges.records import Control
from marketdata_assets.exchanges.venue_adapter import SubscriptionReply
from marketdata_demo.venues.deribit_messages import CONTROLS, PERPETUAL, feed, result


def reply(session: Session, raw: bytes) -> SubscriptionReply:
    """What a message means for a session that gets it."""
    return session.read_reply(raw, feed().push(raw, 0))


def test_names_of_channels() -> None:
    assert channel("trade", PERPETUAL) == f"trades.{PERPETUAL}.100ms"
    assert channel("book", PERPETUAL, "raw") == f"book.{PERPETUAL}.raw"
    assert channel("ticker", PERPETUAL, "agg2") == f"ticker.{PERPETUAL}.agg2"
    assert channel("quote", PERPETUAL) == f"quote.{PERPETUAL}"
    assert channel("kline", PERPETUAL, "1m") == f"chart.trades.{PERPETUAL}.1"
    assert channel("kline", PERPETUAL, "1d") == f"chart.trades.{PERPETUAL}.1D"


def test_subscriptions_name_every_channel_once_and_are_not_too_long() -> None:
    names = [channel("book", f"ABC-{number}DEC26") for number in range(1, 251)]
    session = Session()
    requests = [json.loads(raw) for raw in session.subscribe([*names, names[0]])]
    assert [one["method"] for one in requests] == ["public/subscribe"] * 3
    assert [len(one["params"]["channels"]) for one in requests] == [100, 100, 50]
    assert [name for one in requests for name in one["params"]["channels"]] == names
    assert len({one["id"] for one in requests}) == 3
    assert {one["jsonrpc"] for one in requests} == {"2.0"}
    assert sorted(session.asked) == sorted(one["id"] for one in requests)
    assert Session().subscribe([]) == []


def test_more_channels_than_a_connection_may_have_are_refused() -> None:
    names = [f"quote.ABC-{number}" for number in range(CHANNELS_PER_CONNECTION + 1)]
    with pytest.raises(ValueError, match="501 channels"):
        Session().subscribe(names)


def test_channels_that_are_not_in_the_answer_are_errors() -> None:
    session = Session()
    known, unknown = channel("trade", PERPETUAL), channel("trade", "NOBODY-PERPETUAL")
    (request,) = session.subscribe([known, unknown])
    number = json.loads(request)["id"]
    assert reply(session, result([known], id=number + 1)) == SubscriptionReply()
    answered = reply(session, result([known], id=number))
    assert answered == SubscriptionReply((known,), ((unknown, f"{unknown} {NO_SUCH_CHANNEL}"),))
    assert reply(session, result([known], id=number)) == SubscriptionReply()  # said once
    assert session.asked == {}


def test_nothing_but_an_answer_to_a_request_is_looked_at() -> None:
    session = Session()
    (request,) = session.subscribe(["quote.ABC-PERPETUAL"])
    for raw in (b"", b"pong", b"[]", b'{"id":"x","result":[]}', CONTROLS["heartbeat"], result([])[:-1]):
        assert reply(session, raw) == SubscriptionReply()
    assert list(session.asked) == [json.loads(request)["id"]]
    assert reply(session, result([], id=json.loads(request)["id"])).rejected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (10028, SubscriptionReply(retry=("quote.ABC-PERPETUAL",))),
        (13778, SubscriptionReply(rejected=(("quote.ABC-PERPETUAL", "13778 too_many_requests"),))),
    ],
)
def test_an_error_is_of_its_request_and_one_about_the_rate_has_the_channels_requested_later(
    code: int, expected: SubscriptionReply
) -> None:
    session = Session()
    (request,) = session.subscribe(["quote.ABC-PERPETUAL"])
    error = CONTROLS["error"].replace(b'"id":1', b'"id":%d' % json.loads(request)["id"])
    assert reply(session, error.replace(b"10028", b"%d" % code)) == expected
    assert session.asked == {}


def test_heartbeats_are_asked_for_and_test_requests_answered() -> None:
    session = Session()
    (hello,), answer = session.hello(), reply(session, CONTROLS["test_request"]).reply
    assert answer is not None
    heartbeat, test = json.loads(hello), json.loads(answer)
    assert (heartbeat["method"], heartbeat["params"]) == ("public/set_heartbeat", {"interval": HEARTBEAT_SECONDS})
    assert (test["method"], test["params"]) == ("public/test", {})
    assert heartbeat["id"] != test["id"]
    assert feed().push(result({"version": "1.2.26"}, id=test["id"]), 0) == [Control("pong", "1.2.26")]
    assert session.asked == {}

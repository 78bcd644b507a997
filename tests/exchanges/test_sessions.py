"""The sessions of all venues: requests within their limits that leave nothing out, and what the answers mean.

Behind the law is what one venue has alone.
"""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.binance.adapter import Session as BinanceSession
from marketdata_assets.exchanges.binance.adapter import stream_name, url_of
from marketdata_assets.exchanges.bybit import adapter as bybit
from marketdata_assets.exchanges.deribit import adapter as deribit
from marketdata_assets.exchanges.okx import adapter as okx
from marketdata_assets.exchanges.okx.wire import Arg
from marketdata_assets.exchanges.records import Control, MarketType
from marketdata_assets.exchanges.venue_adapter import SubscriptionReply
from marketdata_demo.venues.deribit_messages import CONTROLS, feed, result

MARKETS: dict[str, MarketType] = {"binance": "spot", "okx": "linear", "deribit": "inverse", "bybit": "linear"}
MARKETS |= {"hyperliquid": "linear", "kraken": "spot", "coinbase": "spot"}
KEYS = {  # how a key is written, how many a request has, and where a request has them
    "binance": ("a{}@trade", 200, lambda request: request["params"]),
    "okx": ("trades:A{}", 100, lambda request: [f"{one['channel']}:{one['instId']}" for one in request["args"]]),
    "deribit": ("trades.A{}.100ms", 100, lambda request: request["params"]["channels"]),
    "bybit": ("publicTrade.A{}", 10, lambda request: request["args"]),
    "kraken": (
        "trade:A{}/USD",
        50,
        lambda request: [f"{request['params']['channel']}:{one}" for one in request["params"]["symbol"]],
    ),
    "coinbase": (
        "ticker:A{}-USD",
        50,
        lambda request: [f"{request['channel']}:{one}" for one in request["product_ids"]],
    ),
    "hyperliquid": ("trades:A{}", 1, lambda request: ["{type}:{coin}".format(**request["subscription"])]),
}
NOTHING = SubscriptionReply()


def session_of(exchange: str) -> Any:
    venue = venues.find(exchange)
    return venue.adapter(venue, MARKETS[exchange]).socket_session()


@pytest.mark.parametrize("count", [0, 1, 10, 11, 100, 250])
@pytest.mark.parametrize("exchange", KEYS)
def test_requests_keep_to_the_limit_and_leave_nothing_out(exchange: str, count: int) -> None:
    key, most, keys_of = KEYS[exchange]
    keys, session = [key.format(number) for number in range(count)], session_of(exchange)
    for requests in (session.subscribe(keys), session.unsubscribe(keys) if exchange != "deribit" else []):
        asked = [keys_of(json.loads(request)) for request in requests]
        if requests:
            assert [one for each in asked for one in each] == keys
            assert [len(each) for each in asked[:-1]] == [most] * (len(asked) - 1)
    numbers = [json.loads(request).get("id", number) for number, request in enumerate(session.subscribe(keys))]
    assert len(set(numbers)) == len(numbers) == -(-count // most)


def test_deribit_is_asked_once_for_a_channel_that_is_named_twice() -> None:
    assert session_of("deribit").subscribe([KNOWN, KNOWN]) == session_of("deribit").subscribe([KNOWN])


def test_an_unsubscription_of_bybit_has_no_number() -> None:
    """Its response would be taken for that of a subscription."""
    assert not any("req_id" in json.loads(request) for request in session_of("bybit").unsubscribe(["publicTrade.A"]))


def error(words: str) -> str:
    return json.dumps({"channel": "error", "data": words})


CONFIRM = '{"channel":"subscriptionResponse","data":{"method":"%s","subscription":{"type":"trades","coin":"ABC"}}}'
OKX_ACK = '{"event":"%s","arg":{"channel":"trades","instId":"ABC-USDT"},"connId":"a1"}'
WRONG = "Wrong URL or channel:trades,instId:XYZ-USDT is none."
UPGRADE = "The connection will soon be closed for a service upgrade."
KNOWN, UNKNOWN = "trades.ABC-PERPETUAL.100ms", "trades.NONE.100ms"
RESULT = '{"jsonrpc":"2.0","id":%s,"result":["trades.ABC-PERPETUAL.100ms"]}'
DERIBIT_ERROR = '{"jsonrpc":"2.0","id":ID,"error":{"code":%d,"message":"no"}}'
BYBIT = '{"success":%s,"ret_msg":"%s","conn_id":"c","req_id":"%s","op":"subscribe"}'
KRAKEN = '{"method":"%s","success":false,"symbol":"%s","error":"%s"}'
COINBASE = (
    '{"channel":"subscriptions","timestamp":"2026-01-31T08:00:00Z","sequence_num":0,"events":[{"subscriptions":{%s}}]}'
)


def again(*topics: str) -> bytes:
    return json.dumps({"req_id": "2", "op": "subscribe", "args": topics}, separators=(",", ":")).encode()


ANSWERS: list[tuple[str, list[str], list[tuple[str, SubscriptionReply]]]] = [
    (
        "binance",
        ["a@trade", "b@trade"],
        [
            ('{"result":null,"id":99}', NOTHING),
            ('{"result":null,"id":ID}', SubscriptionReply(confirmed=("a@trade", "b@trade"))),
            ('{"result":null,"id":ID}', NOTHING),
            ('{"error":{"code":2,"msg":"no"},"id":ID}', NOTHING),
        ],
    ),
    (  # an error is of the oldest request
        "binance",
        ["a@trade"],
        [('{"error":{"code":2,"msg":"no"}}', SubscriptionReply(rejected=(("a@trade", "2 no"),)))],
    ),
    ("binance", ["a@trade"], [('{"error":{"code":-1003,"msg":"no"},"id":ID}', SubscriptionReply(retry=("a@trade",)))]),
    (
        "binance",
        ["a@trade"],
        [
            (
                '{"e":"serverShutdown","E":1700000000000}',
                SubscriptionReply(leave="the server will shut down: open another socket"),
            )
        ],
    ),
    (
        "okx",
        ["trades:ABC-USDT", "trades:XYZ-USDT", "liquidation-orders:SWAP"],
        [
            (OKX_ACK % "subscribe", SubscriptionReply(confirmed=("trades:ABC-USDT",))),
            (
                f'{{"event":"error","code":"60018","msg":"{WRONG}","connId":"a1"}}',
                SubscriptionReply(rejected=(("trades:XYZ-USDT", f"60018 {WRONG}"),)),
            ),
            (
                '{"event":"subscribe","arg":{"channel":"liquidation-orders","instType":"SWAP"},"connId":"a1"}',
                SubscriptionReply(confirmed=("liquidation-orders:SWAP",)),
            ),
            (OKX_ACK % "unsubscribe", NOTHING),
            ('{"event":"error","code":"60014","msg":"Requests too frequent","connId":"a1"}', NOTHING),
            ("pong", NOTHING),
            (f'{{"event":"notice","code":"64008","msg":"{UPGRADE}"}}', SubscriptionReply(leave=f"64008 {UPGRADE}")),
        ],
    ),
    (  # a channel that is not in the answer does not exist
        "deribit",
        [KNOWN, UNKNOWN],
        [
            *(
                (raw, NOTHING)
                for raw in ("", "pong", "[]", '{"id":"x","result":[]}', RESULT % "99", RESULT[:-1] % "ID")
            ),
            (CONTROLS["heartbeat"].decode(), NOTHING),
            (RESULT % "ID", SubscriptionReply((KNOWN,), ((UNKNOWN, f"{UNKNOWN} {deribit.NO_SUCH_CHANNEL}"),))),
            (RESULT % "ID", NOTHING),
        ],
    ),
    ("deribit", [KNOWN], [(DERIBIT_ERROR % 10028, SubscriptionReply(retry=(KNOWN,)))]),
    ("deribit", [KNOWN], [(DERIBIT_ERROR % 13778, SubscriptionReply(rejected=((KNOWN, "13778 no"),)))]),
    (
        "bybit",
        ["publicTrade.A", "publicTrade.B"],
        [
            (BYBIT % ("true", "subscribe", "7"), NOTHING),
            (BYBIT % ("false", "error:topic:x", "7"), NOTHING),
            (BYBIT % ("true", "subscribe", "ID"), SubscriptionReply(confirmed=("publicTrade.A", "publicTrade.B"))),
            (BYBIT % ("true", "subscribe", "ID"), NOTHING),
        ],
    ),
    *(  # one unknown topic is rejected, and the others are requested again
        (
            "bybit",
            ["publicTrade.A", "kline.7.B", "publicTrade.C"],
            [
                (
                    BYBIT % ("false", words, "ID"),
                    SubscriptionReply(rejected=(("kline.7.B", words),), reply=again("publicTrade.A", "publicTrade.C")),
                ),
                (BYBIT % ("true", "", "2"), SubscriptionReply(confirmed=("publicTrade.A", "publicTrade.C"))),
            ],
        )
        for words in (
            "error:handler not found,topic:kline.7.B",
            "Invalid symbol :[kline.7.B]",
            "error: topic: kline.7.B",
        )
    ),
    (
        "bybit",
        ["publicTrade.A", "publicTrade.B"],
        [
            (
                BYBIT % ("false", "error:already subscribed,topic:publicTrade.B", "ID"),
                SubscriptionReply(confirmed=("publicTrade.B",), reply=again("publicTrade.A")),
            )
        ],
    ),
    ("bybit", ["a.A"], [(BYBIT % ("false", "no", "ID"), SubscriptionReply(rejected=(("a.A", "no"),)))]),
    ("bybit", ["a.A", "a.B"], [(BYBIT % ("false", "args size >10", "ID"), NOTHING)]),
    (
        "hyperliquid",
        ["trades:ABC", "trades:NONE", "bbo:ABC"],
        [
            (CONFIRM % "subscribe", SubscriptionReply(confirmed=("trades:ABC",))),
            (
                error('Invalid subscription {"type":"trades","coin":"NONE"}'),
                SubscriptionReply(rejected=(("trades:NONE", 'Invalid subscription {"type":"trades","coin":"NONE"}'),)),
            ),
            (
                error('Already subscribed: {"type":"bbo","coin":"ABC"}'),
                SubscriptionReply(confirmed=("bbo:ABC",)),
            ),
            (CONFIRM % "unsubscribe", NOTHING),
            ('{"channel":"pong"}', NOTHING),
        ],
    ),
    (
        "kraken",
        ["trade:ABC/USD", "trade:NO/USD", "trade:XYZ/USD"],
        [
            (
                KRAKEN % ("subscribe", "NO/USD", "Currency pair not supported NO/USD"),
                SubscriptionReply(rejected=(("trade:NO/USD", "Currency pair not supported NO/USD"),)),
            ),
            (KRAKEN % ("unsubscribe", "XYZ/USD", "Subscription Not Found"), NOTHING),
            (KRAKEN % ("subscribe", "XYZ/USD", "Already subscribed"), SubscriptionReply(confirmed=("trade:XYZ/USD",))),
            (
                '{"method":"subscribe","result":{"channel":"trade","symbol":"ABC/USD"},"success":true}',
                SubscriptionReply(confirmed=("trade:ABC/USD",)),
            ),
            ('{"method":"unsubscribe","result":{"channel":"trade","symbol":"ABC/USD"},"success":true}', NOTHING),
            ('{"channel":"heartbeat"}', NOTHING),
        ],
    ),
    (  # each answer has all that the connection is subscribed to
        "coinbase",
        ["level2:ABC-USD", "level2:NO-USD", "ticker:ABC-USD"],
        [
            (COINBASE % '"level2":["ABC-USD"]', SubscriptionReply(confirmed=("level2:ABC-USD",))),
            (
                '{"type":"error","message":"Failed to subscribe","reason":"NO-USD is not a valid product"}',
                SubscriptionReply(rejected=(("level2:NO-USD", "Failed to subscribe NO-USD is not a valid product"),)),
            ),
            ('{"type":"error","message":"rate limit exceeded"}', SubscriptionReply(retry=("ticker:ABC-USD",))),
            (
                COINBASE % '"level2":["ABC-USD"],"ticker":["ABC-USD"],"heartbeats":["heartbeats"]',
                SubscriptionReply(confirmed=("ticker:ABC-USD",)),
            ),
            (COINBASE % '"level2":["ABC-USD"]', NOTHING),
        ],
    ),
    (  # an error without a pair is of the whole request
        "kraken",
        ["ohlc-5:ABC/USD", "ohlc-5:XYZ/USD"],
        [
            (
                '{"error":"Exceeded msg rate","method":"subscribe","success":false}',
                SubscriptionReply(retry=("ohlc-5:ABC/USD", "ohlc-5:XYZ/USD")),
            )
        ],
    ),
    (  # requests go by channel, so that the second one is of the third key
        "hyperliquid",
        ["trades:ABC", "bbo:ABC", "trades:XYZ"],
        [
            (CONFIRM % "subscribe", SubscriptionReply(confirmed=("trades:ABC",))),
            (error("No."), SubscriptionReply(rejected=(("trades:XYZ", "No."),))),
        ],
    ),
    (  # an error without a name is of the oldest request
        "hyperliquid",
        ["trades:ABC", "bbo:ABC"],
        [
            (
                error("Cannot send more than 2000 messages per minute."),
                SubscriptionReply(retry=("trades:ABC", "bbo:ABC")),
            ),
            (
                error("Cannot subscribe to more than 1000 channels."),
                SubscriptionReply(rejected=(("trades:ABC", "Cannot subscribe to more than 1000 channels."),)),
            ),
            (error('Already unsubscribed: {"type":"trades","coin":"XYZ"}'), NOTHING),
        ],
    ),
]


@pytest.mark.parametrize(("exchange", "keys", "answers"), ANSWERS)
def test_an_answer_confirms_or_rejects_what_was_requested(
    exchange: str, keys: list[str], answers: list[tuple[str, SubscriptionReply]]
) -> None:
    venue, session = venues.find(exchange), session_of(exchange)
    heard, request = venue.feed(MARKETS[exchange]), json.loads((session.hello() + session.subscribe(keys))[-1])
    number = str(request.get("id") or request.get("req_id"))
    for answer, expected in answers:
        raw = answer.replace("ID", number).encode()
        assert session.read_reply(raw, heard.push(raw, 1, 1)) == expected, answer


# What one venue has alone.


def test_addresses_of_binance() -> None:
    trade, depth, mark = (stream_name(stream, "ABCUSDT") for stream in ("aggTrade", "depth", "markPrice"))
    assert url_of("spot", trade) == "wss://stream.binance.com:9443/stream"
    assert url_of("linear", trade) == url_of("linear", mark) == "wss://fstream.binance.com/market/stream"
    assert url_of("linear", depth) == url_of("linear", "!bookTicker") == "wss://fstream.binance.com/public/stream"
    assert url_of("linear", "!forceOrder@arr") == "wss://fstream.binance.com/market/stream"
    assert url_of("inverse", depth) == "wss://dstream.binance.com/stream"
    assert stream_name("kline", "ABCUSDT", "1M") == "abcusdt@kline_1M"
    assert stream_name("depth", "ABCUSDT", "100ms") == "abcusdt@depth@100ms"


def test_a_stream_of_binance_that_is_not_confirmed_is_requested_again() -> None:
    session = BinanceSession("spot")
    session.subscribe(["a@trade", "b@trade", "a@trade"])
    assert [json.loads(one)["params"] for one in session.subscribe(["b@trade"])] == [["b@trade"]]
    assert session.asked == {1: ("a@trade",), 2: ("b@trade",)}
    session.read_reply(b"", [Control("ack", "2")])
    assert session.subscribe(["b@trade"]) == []
    assert session.streams == {"b@trade"}
    (ended,) = session.unsubscribe(["b@trade", "x@trade"])
    assert json.loads(ended) == {"method": "UNSUBSCRIBE", "params": ["b@trade", "x@trade"], "id": 3}


def test_no_more_subscriptions_than_a_connection_may_have() -> None:
    session = BinanceSession("option")
    session.subscribe(f"{number}@trade" for number in range(150))
    with pytest.raises(ValueError, match="may have 200"):
        session.subscribe(f"{number}@trade" for number in range(140, 201))
    with pytest.raises(ValueError, match="501 channels"):
        deribit.Session().subscribe([f"quote.ABC-{number}" for number in range(501)])
    longest = "orderbook.1000.1000000BABYDOGEUSDT-25DEC26"
    assert len(json.dumps([longest] * bybit.TOPICS, separators=(",", ":"))) < bybit.ARGS_CHARACTERS


def args_of(requests: list[bytes]) -> list[dict[str, str]]:
    return [arg for request in requests for arg in json.loads(request)["args"]]


@example([700] * 200)
@example([10] * 250)
@given(st.lists(st.integers(1, 3000), max_size=300))
def test_requests_of_okx_keep_to_both_limits_and_are_no_more_than_needed(lengths: list[int]) -> None:
    args = [Arg("trades", "A" * length) for length in lengths]
    requests = okx.subscriptions(args)
    assert all(len(request) <= okx.MESSAGE_BYTES for request in requests)
    assert args_of(requests) == [{"channel": "trades", "instId": arg.inst_id} for arg in args]
    for request, following in pairwise(requests):
        room = okx.MESSAGE_BYTES - len(request) - len(json.dumps(args_of([following])[0], separators=(",", ":")))
        assert len(args_of([request])) == okx.CHANNELS_PER_REQUEST or room < 2
    with pytest.raises(ValueError, match="longer"):
        okx.subscriptions([Arg("trades", "A" * okx.MESSAGE_BYTES)])


def test_a_request_of_okx_says_only_what_is_asked_on_the_address_of_the_channel() -> None:
    (request,) = okx.subscriptions([Arg("funding-rate", "ABC-USDT-SWAP"), Arg("opt-summary", inst_family="ABC-USD")])
    assert json.loads(request) == {
        "op": "subscribe",
        "args": [
            {"channel": "funding-rate", "instId": "ABC-USDT-SWAP"},
            {"channel": "opt-summary", "instFamily": "ABC-USD"},
        ],
    }
    business = {
        name: okx.url_of(Arg(name)) == okx.BUSINESS_URL for name in ("trades", "books", "candle1m", "trades-all")
    }
    assert business == {"trades": False, "books": False, "candle1m": True, "trades-all": True}
    assert okx.url_of(Arg("sprd-bbo-tbt")) == okx.BUSINESS_URL


def test_heartbeats_of_deribit_are_asked_for_and_test_requests_answered() -> None:
    session, raw = deribit.Session(), CONTROLS["test_request"]
    (hello,), answer = session.hello(), session.read_reply(raw, feed().push(raw, 0)).reply
    assert answer is not None
    heartbeat, test = json.loads(hello), json.loads(answer)
    assert (heartbeat["method"], heartbeat["params"]) == (
        "public/set_heartbeat",
        {"interval": deribit.HEARTBEAT_SECONDS},
    )
    assert (test["method"], test["params"]) == ("public/test", {})
    assert heartbeat["id"] != test["id"]
    assert feed().push(result({"version": "1.2.26"}, id=test["id"]), 0) == [Control("pong", "1.2.26")]
    assert session.asked == {}


def test_the_end_of_a_subscription_of_deribit_confirms_nothing() -> None:
    session = deribit.Session()
    end, begin = (json.loads(one)["id"] for one in session.resubscribe([KNOWN]))
    raws = [(RESULT % number).encode() for number in (end, begin)]
    replies = [session.read_reply(raw, feed().push(raw, 1, 1)) for raw in raws]
    assert [bool(one.confirmed) for one in replies] == [False, True]

"""What venues answer to subscriptions, and what a socket makes of it; how fast we may speak; what repeats are."""

import json
from collections.abc import Callable

import pytest

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.collector.connections.connection import NS
from marketdata_assets.collector.connections.dispatcher import OverlapDedup
from marketdata_assets.collector.connections.socket import Outbox
from marketdata_assets.exchanges.records import Exchange, MarketType, Trade
from marketdata_assets.exchanges.venue_adapter import MessageRate, SubscriptionReply

MARKETS: dict[Exchange, MarketType] = {"binance": "spot", "okx": "linear"}


def _heard(exchange: Exchange, keys: list[str], *answers: str) -> list[SubscriptionReply]:
    """What the answers to a subscription mean; ID is the number of its request."""
    adapter = adapter_for(exchange, MARKETS[exchange])
    feed, session = adapter.feed(), adapter.socket_session()
    number = str(json.loads((session.hello() + session.subscribe(keys))[-1]).get("id"))
    return [
        session.read_reply(raw, feed.push(raw, 1, 1))
        for raw in (answer.replace("ID", number).encode() for answer in answers)
    ]


def test_binance_confirms_by_number() -> None:
    keys = ["abcusdt@trade", "abcusdt@depth@100ms"]
    first, second = _heard("binance", keys, '{"result":null,"id":99}', '{"result":null,"id":ID}')
    assert first == SubscriptionReply()
    assert second.confirmed == tuple(keys)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (2, SubscriptionReply(rejected=(("a@trade", "2 no"),))),
        (-1003, SubscriptionReply(retry=("a@trade",))),
    ],
)
def test_an_error_of_binance_is_of_the_oldest_request(code: int, expected: SubscriptionReply) -> None:
    assert _heard("binance", ["a@trade"], f'{{"error":{{"code":{code},"msg":"no"}},"id":ID}}') == [expected]


def test_binance_announces_its_shutdown() -> None:
    (heard,) = _heard("binance", ["a@trade"], '{"e":"serverShutdown","E":1700000000000}')
    assert heard.leave


def test_okx_confirms_by_name_and_rejects_by_text() -> None:
    keys = ["trades:ABC-USDT", "trades:XYZ-USDT", "liquidation-orders:SWAP"]
    heard = _heard(
        "okx",
        keys,
        '{"event":"subscribe","arg":{"channel":"trades","instId":"ABC-USDT"},"connId":"a1"}',
        '{"event":"error","code":"60018","msg":"Wrong URL or channel:trades,instId:XYZ-USDT is none.","connId":"a1"}',
        '{"event":"subscribe","arg":{"channel":"liquidation-orders","instType":"SWAP"},"connId":"a1"}',
        '{"event":"unsubscribe","arg":{"channel":"trades","instId":"ABC-USDT"},"connId":"a1"}',
        '{"event":"error","code":"60014","msg":"Requests too frequent","connId":"a1"}',
        "pong",
    )
    assert heard[0].confirmed == ("trades:ABC-USDT",)
    assert [key for key, _ in heard[1].rejected] == ["trades:XYZ-USDT"]
    assert heard[2].confirmed == ("liquidation-orders:SWAP",)
    assert heard[3:] == [SubscriptionReply(), SubscriptionReply(), SubscriptionReply()]


def test_the_end_of_a_subscription_of_deribit_confirms_nothing() -> None:
    session = adapter_for("deribit", "inverse").socket_session()
    feed = adapter_for("deribit", "inverse").feed()
    end, begin = (json.loads(one)["id"] for one in session.resubscribe(["trades.ABC-PERPETUAL.100ms"]))
    answer = '{"jsonrpc":"2.0","id":%d,"result":["trades.ABC-PERPETUAL.100ms"]}'
    replies = [
        session.read_reply(raw, feed.push(raw, 1, 1)) for raw in ((answer % number).encode() for number in (end, begin))
    ]
    assert [bool(one.confirmed) for one in replies] == [False, True]


class StubLoop:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> "StubLoop":
        self.due.append((self.now + delay, callback))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def run(self) -> None:
        while self.due:
            self.now, callback = self.due.pop()
            callback()


def test_messages_are_sent_in_order_within_the_rate_limits() -> None:
    loop, sent = StubLoop(), list[tuple[float, bytes]]()
    box = Outbox((MessageRate(3, 1.0), MessageRate(6, 2.5)), lambda raw: sent.append((loop.now, raw)), loop)  # type: ignore[arg-type]
    box.put([b"%d" % number for number in range(5)])
    box.put([b"5", b"6"])
    assert [raw for _, raw in sent] == [b"0", b"1", b"2"]
    loop.run()
    assert [raw for _, raw in sent] == [b"%d" % number for number in range(7)]
    assert [at - 100.0 for at, _ in sent] == pytest.approx([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.5])


def test_unsent_messages_are_dropped_when_the_socket_closes() -> None:
    loop, sent = StubLoop(), list[bytes]()
    box = Outbox((MessageRate(1, 1.0),), sent.append, loop)  # type: ignore[arg-type]
    box.put([b"one", b"two"])
    box.close()
    loop.run()
    assert sent == [b"one"]


def _trade(number: int) -> Trade:
    return Trade("okx", "spot", "A-B", "A-B", 1, 10 * NS, str(number), "1", "1", None, "buy")


def test_duplicates_are_detected_for_two_generations() -> None:
    dedup = OverlapDedup(1.0)
    assert not dedup.is_watching(10 * NS)
    dedup.watch(10 * NS, 20 * NS)
    assert dedup.is_watching(20 * NS)
    assert [dedup.is_duplicate(_trade(number), 10 * NS) for number in (1, 2, 1)] == [False, False, True]
    assert dedup.is_duplicate(_trade(2), 11 * NS)
    assert not dedup.is_duplicate(_trade(3), 12 * NS)
    assert dedup.is_duplicate(_trade(1), 12 * NS)  # of the generation before
    assert not dedup.is_duplicate(_trade(4), 14 * NS)
    assert not dedup.is_duplicate(_trade(1), 16 * NS)  # long ago
    assert dedup.dropped == 3
    assert not dedup.is_watching(21 * NS)
    assert not dedup.is_duplicate(_trade(4), 21 * NS)

"""How fast a socket may speak, and what repeats are."""

from collections.abc import Callable

import pytest

from marketdata_assets.collector.connections.connection import NS
from marketdata_assets.collector.connections.dispatcher import OverlapDedup
from marketdata_assets.collector.connections.socket import Outbox, RateWindow
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.exchanges.venue_adapter import MessageRate


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
            self.due.sort(key=lambda one: one[0], reverse=True)
            self.now, callback = self.due.pop()
            callback()


def test_messages_are_sent_in_order_within_the_rate_limits() -> None:
    loop, sent = StubLoop(), list[tuple[float, bytes]]()
    windows = [RateWindow(MessageRate(3, 1.0)), RateWindow(MessageRate(6, 2.5))]
    box = Outbox(windows, lambda raw: sent.append((loop.now, raw)), loop)  # type: ignore[arg-type]
    box.put([b"%d" % number for number in range(5)])
    box.put([b"5", b"6"])
    assert [raw for _, raw in sent] == [b"0", b"1", b"2"]
    loop.run()
    assert [raw for _, raw in sent] == [b"%d" % number for number in range(7)]
    assert [at - 100.0 for at, _ in sent] == pytest.approx([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.5])


def test_sockets_to_one_address_share_its_rate_limit() -> None:
    loop, sent, window = StubLoop(), list[float](), RateWindow(MessageRate(4, 1.0, by_address=True))
    for _ in range(6):
        box = Outbox([window], lambda _: sent.append(loop.now), loop)  # type: ignore[arg-type]
        box.put([b"subscribe"] * 3)
    loop.run()
    assert len(sent) == 18
    assert all(sum(begin <= at < begin + 1.0 for at in sent) <= 4 for begin in sent)


def test_unsent_messages_are_dropped_when_the_socket_closes() -> None:
    loop, sent = StubLoop(), list[bytes]()
    box = Outbox([RateWindow(MessageRate(1, 1.0))], sent.append, loop)  # type: ignore[arg-type]
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

"""Coinbase: numbers of a connection's messages, which are of all its books, and the taker's side."""

import json
from typing import Any

import pytest

from marketdata_assets.exchanges.coinbase.feed import CoinbaseFeed
from marketdata_assets.exchanges.records import DeadLetter, Gap, OrderBook, Outcome, Trade

TIME = "2026-01-31T08:00:00.{:06}Z"


def book(number: int, product: str = "ABC-USD", kind: str = "update", size: str = "2.0") -> bytes:
    level = {"side": "bid", "event_time": TIME.format(number), "price_level": "4.2", "new_quantity": size}
    return pushed("l2_data", number, {"type": kind, "product_id": product, "updates": [level]})


def trade(number: int, *ids: int, kind: str = "update") -> bytes:
    fixed = {"product_id": "ABC-USD", "price": "4.2", "size": "1", "side": "BUY", "time": TIME.format(1)}
    return pushed("market_trades", number, {"type": kind, "trades": [fixed | {"trade_id": str(n)} for n in ids]})


def pushed(channel: str, number: int, event: Any) -> bytes:
    head = {"channel": channel, "client_id": "", "timestamp": TIME.format(number), "sequence_num": number}
    return json.dumps({**head, "events": [event]}, separators=(",", ":")).encode()


def begun() -> CoinbaseFeed:
    """Two books on connection 1, one on connection 2."""
    feed = CoinbaseFeed("spot", strict=False)
    for number, product in enumerate(("ABC-USD", "XYZ-USD")):
        feed.push(book(number, product, "snapshot"), 1, 1)
    feed.push(book(0, "KLM-USD", "snapshot"), 1, 2)
    return feed


def live(feed: CoinbaseFeed) -> list[str]:
    return [state.instrument.name for state in feed.books.values() if state.status == "live"]


def kinds(made: list[Outcome]) -> list[str]:
    return [one.cause if isinstance(one, Gap) else type(one).__name__ for one in made]


def test_a_number_that_is_missing_breaks_all_books_of_its_connection_and_no_other() -> None:
    feed = begun()
    assert kinds(feed.push(trade(2, 7), 2, 1)) == ["Trade"]
    assert kinds(feed.push(trade(4, 8), 3, 1)) == ["sequence", "sequence", "Trade"]
    assert live(feed) == ["KLM-USD"]
    assert {one.how for one in feed.resync_requests.values()} == {"subscription"}
    assert kinds(feed.push(book(5, "ABC-USD", "snapshot"), 4, 1)) == ["OrderBook", "sequence"]
    assert live(feed) == ["ABC-USD", "KLM-USD"]


def test_a_snapshot_of_trades_does_not_hide_what_is_missing_before_it() -> None:
    assert kinds(begun().push(trade(9, 7, kind="snapshot"), 2, 1)) == ["sequence", "sequence", "Control"]


def test_an_old_update_is_not_taken_again_and_far_older_numbers_are_a_new_numbering() -> None:
    feed = begun()
    assert kinds(feed.push(book(2, size="3.0"), 2, 1)) == ["OrderBook"]
    assert kinds(feed.push(book(2, size="9.0"), 3, 1)) == kinds(feed.push(book(0, size="9.0"), 3, 1)) == ["repeat"]
    assert feed.books["level2:ABC-USD"].book.bids.best() == ("4.2", "3.0")
    feed.push(book(90_000), 4, 1)
    assert live(feed) == ["KLM-USD"]
    feed.push(book(90_001, kind="snapshot"), 5, 1)
    assert kinds(feed.push(book(2), 6, 1)) == ["sequence", "Control"]


@pytest.mark.parametrize("length", [120, 70, 40])
def test_a_message_that_is_cut_anywhere_breaks_what_may_be_wrong(length: int) -> None:
    feed = begun()
    (letter, *_) = feed.push(book(2)[:length], 2, 1)
    assert isinstance(letter, DeadLetter)
    feed.push(trade(3, 7), 3, 1)
    assert "ABC-USD" not in live(feed)
    assert "KLM-USD" in live(feed)


def test_an_unreadable_ticker_breaks_no_book() -> None:
    feed = begun()
    (letter,) = feed.push(pushed("ticker", 2, {"tickers": [{"product_id": "ABC-USD"}]}), 2, 1)
    assert isinstance(letter, DeadLetter)
    assert kinds(feed.push(trade(3, 7), 3, 1)) == ["Trade"]
    assert len(live(feed)) == 3


def test_trades_come_in_the_order_of_their_numbers_with_the_side_of_the_taker() -> None:
    made = begun().push(trade(2, 9, 8, 7), 2, 1)
    assert [(one.sequence, one.side) for one in made if isinstance(one, Trade)] == [(n, "sell") for n in (7, 8, 9)]


def test_trades_of_several_products_in_a_message_may_have_the_same_number() -> None:
    event = {"type": "update", "trades": []}
    for product in ("XYZ-USD", "ABC-USD"):
        told = {"trade_id": "7", "product_id": product, "price": "4.2", "size": "1", "side": "SELL"}
        event["trades"].append(told | {"time": TIME.format(1)})  # type: ignore[attr-defined]
    made = begun().push(pushed("market_trades", 2, event), 2, 1)
    assert [one.instrument for one in made if isinstance(one, Trade)] == ["XYZ-USD", "ABC-USD"]


def test_updates_of_one_moment_have_numbers_that_go_up_and_follow_one_another() -> None:
    feed, last = CoinbaseFeed("spot", strict=False), None
    for number in range(4):
        raw = book(number, kind="update" if number else "snapshot").replace(
            TIME.format(number).encode(), b"2026-01-31T08:00:00Z"
        )
        (record,) = feed.push(raw, 1)
        assert isinstance(record, OrderBook)
        assert record.prev_id == last
        assert last is None or (record.last_id or 0) > last
        last = record.last_id


def test_numbers_of_two_sockets_are_no_repeats() -> None:
    """A recording that does not tell its sockets apart: after a few turns no message of it is taken."""
    feed = CoinbaseFeed("spot", strict=False)
    made = feed.push(book(500, "ABC-USD", "snapshot"), 1)
    for number in range(40):
        made += feed.push(book(number, "XYZ-USD", "update" if number else "snapshot"), 2)
        made += feed.push(book(501 + number), 2)
    letters = [one for one in made if isinstance(one, DeadLetter)]
    assert len(letters) > 50
    assert "record each socket in a file of its own" in letters[0].cause
    assert not live(feed)
    feed.reopened(3)
    feed.push(book(0, "ABC-USD", "snapshot"), 4)
    assert live(feed) == ["ABC-USD"]

"""The names that records go by in JetStream: one subject an instrument, one id an event."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.collector.items import STORED, TAGS, Recorded, items, message_id, moment, subject
from marketdata_assets.exchanges.records import Trade
from tests.collector.collector_records import (
    candle,
    delta,
    funding,
    gap,
    interest,
    liquidation,
    place,
    snapshot,
    state,
    ticker,
    trade,
)

ONE_OF_EACH: list[Recorded] = [
    trade(1),
    delta(1),
    snapshot(1),
    candle(1),
    ticker(1),
    funding(1),
    interest(1),
    liquidation(1),
    state(1),
    gap(1),
]


def test_subject_has_type_exchange_market_and_symbol() -> None:
    assert subject(trade(1)) == "market.trade.binance.linear.ABC-USDT"
    assert {subject(one).split(".")[1] for one in ONE_OF_EACH} == {TAGS[kind] for kind in STORED}


@pytest.mark.parametrize("symbol", ["A.B-USDT", "A B", "A*", "A>B", "A\tB\r\n", ""])
def test_symbol_cannot_break_a_subject(symbol: str) -> None:
    made = subject(msgspec.structs.replace(trade(1), symbol=symbol))
    assert len(made.split(".")) == 5
    assert all(token and not set(token) & set(" *>\r\n\t") for token in made.split("."))


@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_fit_into_a_header_and_differ_between_instruments(one: str, other: str) -> None:
    ids = [message_id(msgspec.structs.replace(trade(1), instrument=name)) for name in (one, other)]
    assert not any(set(made) & {chr(code) for code in range(33)} for made in ids)
    assert (ids[0] == ids[1]) == (one == other)


@pytest.mark.parametrize("record", [one for one in ONE_OF_EACH if TAGS[type(one)] not in ("gap", "instrument_state")])
def test_same_event_through_another_socket_has_the_same_id(record: Recorded) -> None:
    later = msgspec.structs.replace(record, ts_recv=moment(record) + 12345)
    assert message_id(later) == message_id(record)


def test_different_events_have_different_ids() -> None:
    others = [
        trade(2),
        trade(1, "XYZ"),
        msgspec.structs.replace(trade(1), market_type="spot"),
        msgspec.structs.replace(trade(1), exchange="okx"),
        msgspec.structs.replace(trade(1), first_id="1", last_id="1"),
        delta(2),
        snapshot(2),
        candle(2),
        candle(1, closed=True),
        candle(1, minute=1),
        ticker(2),
        funding(2),
        interest(2),
        liquidation(2),
        state(2),
        gap(2),
        msgspec.structs.replace(gap(1), healed_at=1),
    ]
    ids = {message_id(one) for one in (*ONE_OF_EACH, *others)}
    assert len(ids) == len(ONE_OF_EACH) + len(others)


def test_update_of_a_book_that_the_venue_numbers_anew_has_another_id() -> None:
    """Bybit's service restarts, and OKX's maintenance: an id that was there shortly before would be dropped."""
    later = msgspec.structs.replace(delta(1), ts_event=moment(delta(1)) + 60_000_000_000)
    assert message_id(later) != message_id(delta(1))


def test_payload_is_the_record_as_json() -> None:
    made = items([*ONE_OF_EACH, Trade(*place(), None, 5, "x", "1", None, "3", "sell")])
    assert [one.record for one in made] == [msgspec.json.decode(one.payload, type=Recorded) for one in made]

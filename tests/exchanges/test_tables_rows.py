"""Records go into their tables as they are, once, or not at all and then with a reason."""

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.errors import ExchangesError
from marketdata_assets.exchanges.records import Gap, Kline, OrderBook, Ticker, Trade
from marketdata_assets.exchanges.tables import rows, schema

encode = msgspec.json.encode


def trade(number: int, price: str = "1.5", size: str | None = "2", ts_recv: int = 10**18 + 5) -> Trade:
    return Trade(
        "binance", "spot", "BTC-USDT", "BTCUSDT", 10**18 + number, ts_recv, str(number), price, size, None, "buy"
    )


def stored(client: Client, table: str, columns: str, order: str = "1") -> list[tuple[object, ...]]:
    sql = f"SELECT {columns} FROM {table} FINAL ORDER BY {order}"
    return [tuple(row) for row in client.query(sql, settings=schema.FINAL_SETTINGS).result_rows]


def test_the_same_event_of_two_sockets_is_one_row_and_the_first_one_stays(client: Client) -> None:
    late, early = trade(1, ts_recv=2 * 10**18), trade(1, ts_recv=10**18)
    for batch in ([late], [early, late], [late, trade(2)]):
        assert rows.insert_json(client, "trade", [encode(one) for one in batch]).rows == len(batch)
    found = stored(client, "exchange_trades", "trade_id, ts_recv")
    assert found == [("1", early.ts_recv), ("2", trade(2).ts_recv)]


def test_a_type_without_a_table_is_named(client: Client) -> None:
    with pytest.raises(ExchangesError, match="did you mean 'trade'"):
        rows.insert_json(client, "trades", [encode(trade(1))])


REASONS = {
    "more than 18 decimals": ("0.1234567890123456789", "1e-19"),
    "more than 20 digits": ("100000000000000000000", "1e20"),
    "no decimal": ("", "-", ".", "1.2.3", "1e", "e1", "nan"),
}


def test_a_number_that_does_not_fit_is_kept_aside_with_its_row_and_others_land(client: Client) -> None:
    wrong = {price: reason for reason, prices in REASONS.items() for price in prices}
    batch = [encode(trade(number, price)) for number, price in enumerate([*wrong, "1.25", "7"])]
    made = rows.insert_json(client, "trade", batch, source="test")
    assert (made.rows, [one.raw for one in made.rejects]) == (2, batch[:-2])
    assert [reason for reason, one in zip(wrong.values(), made.rejects, strict=True) if reason not in one.reason] == []
    assert stored(client, "exchange_trades", "toString(price)") == [("1.25",), ("7",)]
    kept = stored(client, "exchange_rejects", "raw, type, reason, source")
    assert kept == sorted((one.raw.decode(), "trade", one.reason, "test") for one in made.rejects)


def test_copies_in_one_batch_are_one_row(client: Client) -> None:
    """ClickHouse keeps both of them until it merges; FINAL does not show it, though the partition has one part."""
    rows.insert_json(client, "trade", [encode(trade(1, ts_recv=number)) for number in (7, 5, 9)])
    assert stored(client, "exchange_trades", "trade_id, ts_recv") == [("1", 5)]


def test_aggregate_and_single_trades_are_told_apart(client: Client) -> None:
    whole = msgspec.structs.replace(trade(1), first_id="1", last_id="3")
    rows.insert_records(client, [trade(1), whole, whole])
    assert stored(client, "exchange_trades", "first_id", "first_id NULLS FIRST") == [(None,), ("1",)]


def test_of_a_candle_the_newest_state_stays_and_a_closed_one_before_all(client: Client) -> None:
    def candle(close: str, ts: int | None, closed: bool | None, ts_recv: int = 10**18) -> Kline:
        where = ("binance", "spot", "BTC-USDT", "BTCUSDT")
        none = (None,) * 6
        return Kline(*where, ts, ts_recv, "1m", 60 * 10**9, 120 * 10**9, "1", "9", "1", close, *none, closed)  # type: ignore[arg-type, call-arg]

    def shown() -> str:
        found = stored(client, "exchange_klines", "toString(close)")
        assert len(found) == 1
        return str(found[0][0])

    rows.insert_records(client, [candle("3", 30, False)])
    rows.insert_records(client, [candle("2", 20, False)])
    assert shown() == "3"
    rows.insert_records(client, [candle("4", 40, True), candle("5", 40, True, 10**18 + 1)])
    rows.insert_records(client, [candle("6", 60, False)])
    assert shown() == "4"


def test_of_a_gap_the_healed_one_stays(client: Client) -> None:
    open_gap = Gap("okx", "spot", "BTC-USDT", "BTC-USDT", "trades", 3, 5, 10**18, 10**18 + 9, "sequence")
    healed = msgspec.structs.replace(open_gap, healed_at=10**18 + 99)
    other = msgspec.structs.replace(open_gap, last_id=None)
    for batch in ([open_gap], [healed, other], [open_gap]):
        rows.insert_records(client, batch)
    found = stored(client, "exchange_gaps", "last_id, healed_at", "last_id NULLS FIRST")
    assert found == [(None, None), (3, healed.healed_at)]


def test_messages_without_a_time_but_with_an_id_are_one_row_from_two_sockets(client: Client) -> None:
    best = Ticker("binance", "spot", "BTC-USDT", "BTCUSDT", None, 10**18, "1", "2", "3", "4", "base", 77)
    later = msgspec.structs.replace(best, ts_recv=best.ts_recv + 10**9)
    rows.insert_records(client, [later])
    rows.insert_records(client, [best, msgspec.structs.replace(later, ask="3.1")])
    found = stored(client, "exchange_tickers", "toString(ask), ts_recv, toUnixTimestamp64Nano(time)", "ask")
    assert found == [("3", best.ts_recv, best.ts_recv), ("3.1", later.ts_recv, later.ts_recv)]


def test_books_that_differ_in_one_level_are_two_rows(client: Client) -> None:
    book = OrderBook(
        "okx", "spot", "A-B", "A-B", 10**18, 10**18, "delta", (("1", "2"), ("0.5", "1")), (), "base", 1, 2, 0
    )
    other = msgspec.structs.replace(book, bids=(("1", "2"), ("0.5", "1.1")))
    rows.insert_records(client, [book, other, msgspec.structs.replace(book, ts_recv=10**18 + 7)])
    found = stored(client, "exchange_orderbooks", "toString(bids), ts_recv", "bids")
    assert found == [("[(1,2),(0.5,1)]", 10**18), ("[(1,2),(0.5,1.1)]", 10**18)]


GOOD = encode(trade(1))
BOOK = encode(OrderBook("okx", "spot", "A-B", "A-B", 10**18, 10**18, "delta", (("1", "2"),), (), "base", 1, 2, 0))


WRONG = {
    "trade": [
        GOOD.replace(b'"price":"1.5",', b""),
        GOOD.replace(b'"price":"1.5"', b'"price":null'),
        GOOD.replace(b'"price":"1.5"', b'"price":1.5'),
        GOOD.replace(b'"side":"buy"', b'"side":"hold"'),
        GOOD.replace(b'"ts_recv":1', b'"ts_recv":18446744073709551616'),
        GOOD.replace(b'"ts_recv":', b'"ts_recv":-'),
        GOOD.replace(b'"price":', b'"price":"2","price":'),
        GOOD + b"," + GOOD,
        b"[]",
        b"",
        b"\xff\xfe",
        BOOK,
    ],
    "orderbook": [
        BOOK.replace(b'["1","2"]', b'["1"]'),
        BOOK.replace(b'["1","2"]', b'["1","2","3"]'),
        BOOK.replace(b'["1","2"]', b"[]"),
        BOOK.replace(b'["1","2"]', b'["1",""]'),
        BOOK.replace(b'["1","2"]', b'["1","."]'),
        BOOK.replace(b'["1","2"]', b'["1","1.2.3"]'),
        BOOK.replace(b'["1","2"]', b'["1",null]'),
        BOOK.replace(b'["1","2"]', b'["1","0.0000000000000000001"]'),
        BOOK.replace(b'["1","2"]', b'["100000000000000000000","1"]'),
        BOOK.replace(b'"bids":[["1","2"]]', b'"bids":null'),
        BOOK.replace(b'"last_id":2', b'"last_id":9223372036854775808'),
    ],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_such_record_is_kept_aside_and_changes_no_other_row(client: Client, name: str) -> None:
    fine = GOOD if name == "trade" else BOOK
    made = rows.insert_json(client, name, [*WRONG[name], fine, *WRONG[name]])
    assert made.rows == 1
    assert sorted(one.raw for one in made.rejects) == sorted(WRONG[name] * 2)
    assert all(one.reason for one in made.rejects)
    assert len(stored(client, schema.TABLES[name].name, "time")) == 1
    assert len(stored(client, "exchange_rejects", "raw")) == len(WRONG[name])


def test_large_batches_go_in_parts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_PER_INSERT", 30)
    monkeypatch.setattr(rows, "BYTES_PER_INSERT", 20 * len(GOOD))
    batch = [encode(trade(number, "1.2.3" if number == 40 else "1")) for number in range(100)]
    assert rows.insert_json(client, "trade", batch).rows == 99
    assert rows.insert_json(client, "trade", batch).rows == 99
    assert len(stored(client, "exchange_trades", "trade_id")) == 99


def test_a_number_in_another_spelling_is_the_same_number(client: Client) -> None:
    spelled = {"1": "2.0e3", "2": "1E-8", "3": "0.5", "4": "7.", "5": "0.100000000000000000000000", "6": "00012"}
    rows.insert_records(client, [trade(int(number), price) for number, price in spelled.items()])
    found = stored(client, "exchange_trades", "toString(price)", "trade_id")
    assert [text for (text,) in found] == ["2000", "0.00000001", "0.5", "7", "0.1", "12"]


def test_what_has_the_form_of_a_regular_record_is_still_looked_at(client: Client) -> None:
    """The look remembers regular records with their digits taken away; none of these differs in more than digits."""
    last, beyond = b"9223372036854775807", b"9223372036854775808"
    regular = [GOOD.replace(b'"ts_recv":1000000000000000005', b'"ts_recv":' + number) for number in (b"1" * 19, last)]
    assert rows.insert_json(client, "trade", regular).rows == 2
    wrong = [
        regular[0].replace(b"1" * 19, beyond),
        regular[0].replace(b'"price":"1.5"', b'"price":"."'),
        regular[0].replace(b'"price":"1.5"', b'"price":""'),
        regular[0].replace(b'"price":"1.5"', b'"price":"1.2.3"'),
        regular[0].replace(b'"price":"1.5"', b'"price":"1e5.1"'),
    ]
    made = rows.insert_json(client, "trade", [*wrong, *regular])
    assert (made.rows, [one.raw for one in made.rejects]) == (2, wrong)


def test_odd_names_do_not_make_a_record_odd(client: Client) -> None:
    odd = ["1000ELON-USDT", '"', "\\", "a\nb", "\u0007", "\u00e9\u6c49\U0001f600", "", "[]{},:", "9" * 30]
    for _ in range(2):
        batch = [msgspec.structs.replace(trade(number), symbol=name) for number, name in enumerate(odd)]
        assert rows.insert_records(client, batch)["trade"].rejects == ()
    assert [name for (name,) in stored(client, "exchange_trades", "symbol", "trade_id")] == odd


def test_a_server_whose_error_cuts_a_letter_in_two_still_has_the_row_kept_aside(client: Client) -> None:
    """It quotes the beginning of what it could not read."""
    broken = BOOK.replace(b'["1","2"]', b"[]")[:-1]
    books = [broken + b',"note":"%b%b"}' % (b"x" * number, "\u6c49".encode() * 300) for number in range(3)]
    made = rows.insert_json(client, "orderbook", books)
    assert (made.rows, [one.raw for one in made.rejects]) == (0, books)


@pytest.mark.parametrize(
    ("price", "size"), [("0", "1"), ("0.00", "1"), ("0e3", "1"), ("-3.5", "1"), ("1", "0.000"), ("1", "-2")]
)
def test_a_trade_without_a_price_or_size_above_0_is_rejected(client: Client, price: str, size: str) -> None:
    regular = [encode(trade(number)) for number in (1, 2)]
    rows.insert_json(client, "trade", regular)
    inserted = rows.insert_json(client, "trade", [regular[0], encode(trade(3, price, size))])
    assert (inserted.rows, len(inserted.rejects)) == (1, 1)
    assert "is not above 0" in inserted.rejects[0].reason

"""Records go into their tables as they are, once, or not at all and then with a reason."""

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.errors import UnknownTable
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.exchanges.tables import rows, schema

encode = msgspec.json.encode


@pytest.fixture
def client(clickhouse_client: Client) -> Client:
    schema.ensure(clickhouse_client)
    return clickhouse_client


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
    with pytest.raises(UnknownTable, match="did you mean trade"):
        rows.insert_json(client, "trades", [encode(trade(1))])


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("0.1234567890123456789", "more than 18 decimals"),
        ("1e-19", "more than 18 decimals"),
        ("100000000000000000000", "more than 20 digits"),
        ("1e20", "more than 20 digits"),
        ("", "no decimal"),
        ("-", "no decimal"),
        (".", "no decimal"),
        ("1.2.3", "no decimal"),
        ("1e", "no decimal"),
        ("e1", "no decimal"),
        ("nan", "no decimal"),
    ],
)
def test_a_number_that_does_not_fit_is_kept_aside_with_its_row_and_others_land(
    client: Client, price: str, reason: str
) -> None:
    batch = [encode(trade(number, price if number == 3 else "1.25")) for number in range(6)]
    made = rows.insert_json(client, "trade", batch, source="test")
    assert made.rows == 5
    assert [one.raw for one in made.rejects] == [batch[3]]
    assert [row[0] for row in stored(client, "exchange_trades", "trade_id")] == ["0", "1", "2", "4", "5"]
    kept = stored(client, "exchange_rejects", "type, reason, raw, source")
    assert [(row[0], row[2], row[3]) for row in kept] == [("trade", batch[3].decode(), "test")]
    assert reason in str(kept[0][1])

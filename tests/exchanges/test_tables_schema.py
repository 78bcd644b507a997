"""The tables are what the records are, and old rows go only where somebody asked for it."""

import re

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.errors import ExchangesError
from marketdata_assets.exchanges.records import RECORDS, Gap, Trade
from marketdata_assets.exchanges.tables import rows, schema

DAY = 86_400 * 10**9
LAST_YEAR = 1_735_700_000 * 10**9


def described(client: Client, table: str) -> dict[str, tuple[str, str]]:
    found = client.query(f"DESCRIBE TABLE {table}").result_rows
    return {row[0]: (row[1], row[2]) for row in found}


def test_each_type_has_a_table_whose_columns_are_its_fields(clickhouse_client: Client) -> None:
    schema.ensure(clickhouse_client)
    assert [table.record for table in schema.TABLES.values()] == [*RECORDS, Gap]
    for table in schema.TABLES.values():
        columns = described(clickhouse_client, table.name)
        plain = [name for name, (_, default) in columns.items() if not default]
        assert plain == list(table.columns)
        assert {name for name in plain if re.match(r"(Nullable\()?Decimal", columns[name][0])} == set(table.decimals)
        optional = {
            field.encode_name for field in msgspec.structs.fields(table.record) if type(None) in _members(field.type)
        }
        assert {name for name in plain if "Nullable" in columns[name][0]} == optional


def _members(kind: object) -> tuple[object, ...]:
    return getattr(kind, "__args__", ())


def keeps(client: Client, table: str) -> str:
    found = re.search(r"toIntervalDay\((\d+)\)", str(client.command(f"SHOW CREATE TABLE {table}")))
    return found[1] if found else ""


def test_old_rows_go_where_it_was_asked_for(clickhouse_client: Client) -> None:
    client = clickhouse_client
    schema.ensure(client)
    assert keeps(client, "exchange_trades") == ""
    schema.ensure(client, {"trade": 30, "gap": 20_000})
    schema.ensure(client)
    assert [keeps(client, name) for name in ("exchange_trades", "exchange_tickers", "exchange_gaps")] == [
        "30",
        "",
        "20000",
    ]
    where = ("okx", "spot", "BTC-USDT", "BTC-USDT")
    old = Trade(*where, LAST_YEAR, LAST_YEAR, "1", "1", "1", None, "buy")
    rows.insert_records(client, [old, Gap(*where, "trades", 1, 3, LAST_YEAR, LAST_YEAR + DAY, "sequence")])
    client.command("OPTIMIZE TABLE exchange_trades FINAL")
    client.command("OPTIMIZE TABLE exchange_gaps FINAL")
    count = "SELECT (SELECT count() FROM exchange_trades), (SELECT count() FROM exchange_gaps)"
    assert client.query(count).result_rows == [(0, 1)]
    schema.ensure(client, {"orderbook": 30})
    assert "toDate(time) + toIntervalDay(31)" in str(client.command("SHOW CREATE TABLE exchange_orderbooks"))
    schema.ensure(client, {"orderbook": 30})
    schema.ensure(client, {"gap": 20_001})
    assert keeps(client, "exchange_orderbooks") == ""
    assert [keeps(client, name) for name in ("exchange_trades", "exchange_gaps")] == ["", "20001"]


def test_a_mistyped_type_is_named(clickhouse_client: Client) -> None:
    with pytest.raises(ExchangesError, match="did you mean 'orderbook'"):
        schema.ensure(clickhouse_client, {"orderbooks": 30})

"""The tables are what the records are, and old rows go only where somebody asked for it."""

import re
import time

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.errors import ExchangesError
from marketdata_assets.exchanges.records import RECORDS, FundingRate, Gap, Trade
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


FOLLOWING = {"symbol", "unit"}  # of the instrument
PROMISE = "A copy that differs in nothing but ts_recv is the same row"


def test_rows_are_copies_only_where_every_column_but_the_receive_time_is_equal(clickhouse_client: Client) -> None:
    schema.ensure(clickhouse_client)
    promised = [table for table in schema.TABLES.values() if PROMISE in schema.sql(table.name)]
    assert len(promised) == 5
    for table in promised:
        defaults = {name: default for name, (_, default) in described(clickhouse_client, table.name).items()}
        [key] = clickhouse_client.query(f"SELECT sorting_key FROM system.tables WHERE name = '{table.name}'").first_row
        compared = set(re.findall(r"\w+", key))
        for name in compared & {"content", "time", "key_time"}:
            expression = clickhouse_client.query(
                f"SELECT default_expression FROM system.columns WHERE table = '{table.name}' AND name = '{name}'"
            )
            compared |= set(re.findall(r"\w+", expression.first_row[0]))
        assert set(table.columns) - compared - FOLLOWING - {"ts_recv"} == set(), defaults


NARROW = "xxh3(toString((rate, funding_time, predicted_rate, interval_hours, mark_price, index_price)))"


def test_table_of_before_compares_new_columns_of_what_happens_from_now_on(clickhouse_client: Client) -> None:
    """A copy of a row of before stays one, whenever it is received."""
    client, declared = clickhouse_client, schema.sql("exchange_funding_rates")
    schema.ensure(client)
    client.command("DROP TABLE exchange_funding_rates SYNC")
    client.command(re.sub(r"xxh3\(.*?\)\)\)", NARROW, declared, flags=re.DOTALL))
    later = time.time_ns() + DAY
    rates = [
        FundingRate("okx", "linear", "BTC-USDT", "BTC-USDT-SWAP", at, received, "1", None, premium=premium)
        for at, received, premium in (
            (LAST_YEAR, 1, "0.1"),
            (LAST_YEAR, 2, "0.2"),
            (LAST_YEAR, later, "0.2"),
            (later, 3, "0.1"),
            (later, 4, "0.2"),
            (later, 5, "0.2"),
        )
    ]
    rows.insert_records(client, rates[:2])
    for _ in range(2):
        schema.ensure(client)
        rows.insert_records(client, rates)
    found = client.query("SELECT ts_event, toString(premium) FROM exchange_funding_rates FINAL ORDER BY ALL")
    assert found.result_rows == [(LAST_YEAR, "0.1"), (later, "0.1"), (later, "0.2")]
    [defined] = client.query(CONTENT).first_row
    schema.ensure(client)
    assert client.query(CONTENT).first_row == (defined,)


CONTENT = "SELECT default_expression FROM system.columns WHERE table = 'exchange_funding_rates' AND name = 'content'"


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

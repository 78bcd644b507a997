"""The ClickHouse front through unmodified clickhouse-connect clients."""

import asyncio
import io
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import numpy as np
import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from marketdata_assets.local.stack import LocalStack
from tests.cli.commands import settings as settings_of

COLUMNS = ["id", "symbol", "price", "ts"]


@pytest.fixture
def url(local_stack: LocalStack) -> str:
    return local_stack.endpoints.clickhouse_url or ""


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=url) as client:
        make_table(client)
        yield client


def make_table(client: Client, name: str = "ticks") -> None:
    client.command(
        f"CREATE OR REPLACE TABLE {name} (id UInt64, symbol LowCardinality(String), price Float64, "
        "ts DateTime64(6, 'UTC')) ENGINE = MergeTree PARTITION BY id % 2 ORDER BY id"
    )


def ticks(height: int) -> pl.DataFrame:
    ids = pl.Series("id", np.arange(height, dtype=np.uint64))
    ts = (ids.cast(pl.Int64) * 1000 + 1_700_000_000_123_456).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"id": ids, "symbol": ["600000"] * height, "price": ids / 7, "ts": ts})


def test_commands_queries_and_parameters(client: Client) -> None:
    assert client.command("SELECT currentDatabase()") == "marketdata"
    values = {"x": 4, "y": ["tab\t'quote' \\", "汉"]}
    assert client.query("SELECT {x:UInt32} + 1, {y:Array(String)}", parameters=values).result_rows == [(5, values["y"])]
    assert client.query("SELECT * FROM ticks LIMIT 0").column_names == tuple(COLUMNS)
    assert client.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'


def test_settings_hold_for_one_request(client: Client) -> None:
    ask = "SELECT toString(getSetting('max_threads'))"
    before = client.command(ask)
    assert client.query(ask, settings={"max_threads": 3}).result_rows == [("3",)]
    assert client.command(ask) == before


@pytest.mark.parametrize(
    ("compress", "height"),
    [
        ("lz4", 200_000),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("lz4", 1_200_000), ("zstd", 200_000))),
        ("gzip", 200_000),
        (False, 200_000),
    ],
)
def test_every_row_of_a_frame_of_many_blocks_arrives(
    url: str, client: Client, compress: str | bool, height: int
) -> None:
    frame = ticks(height)
    with clickhouse_connect.get_client(dsn=url, compress=compress) as compressing:
        assert compressing.insert_df_arrow("ticks", frame).written_rows == frame.height
        assert client.command("SELECT count() FROM ticks") == frame.height
        table = compressing.query_arrow("SELECT * FROM ticks ORDER BY id")
    assert table.num_rows == frame.height
    assert pl.DataFrame(pl.from_arrow(table))["ts"].to_list()[-1] == frame["ts"].to_list()[-1]


def test_rows_inserted_block_by_block_arrive(url: str, client: Client) -> None:
    frame = ticks(300_000)
    with clickhouse_connect.get_client(dsn=url, compress="lz4") as compressing:
        compressing.insert("ticks", [frame[name].to_list() for name in COLUMNS], COLUMNS, column_oriented=True)
    assert client.query("SELECT count(), sum(id) FROM ticks").result_rows == [(300_000, sum(range(300_000)))]


def test_raw_insert_of_parquet_and_csv(client: Client) -> None:
    parquet = io.BytesIO()
    ticks(1000).write_parquet(parquet)
    client.raw_insert("ticks", COLUMNS, parquet.getvalue(), fmt="Parquet")
    client.raw_insert("ticks", ["id", "symbol"], "1,x\n2,y\n", fmt="CSV")
    client.raw_insert("ticks", ["id", "symbol"], (part for part in (b"3,x\n", b"4,y\n")), fmt="CSV")
    client.command("INSERT INTO ticks (id, symbol) VALUES (5, 'x FORMAT CSV')")
    assert client.command("SELECT count() FROM ticks") == 1005


def test_partition_is_replaced(client: Client) -> None:
    make_table(client, "staging")
    client.insert_df_arrow("ticks", ticks(10))
    client.insert_df_arrow("staging", ticks(4))
    client.command("ALTER TABLE ticks REPLACE PARTITION 0 FROM staging")
    assert client.query("SELECT id FROM ticks ORDER BY id").result_columns[0] == [0, 1, 2, 3, 5, 7, 9]


def test_own_database_in_atomic_form(client: Client) -> None:
    client.command("CREATE DATABASE IF NOT EXISTS other")
    assert client.command("SELECT engine FROM system.databases WHERE name = 'other'") == "Atomic"
    client.command("DROP DATABASE other")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT * FROM nowhere", 60),
        ("SELEC 1", 62),
        ("SELECT throwIf(1)", 395),
        ("INSERT INTO nowhere FORMAT CSV\n1", 60),
    ],
)
def test_errors_carry_the_code(client: Client, statement: str, code: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.command(statement)
    assert caught.value.code == code
    assert client.ping()


def test_an_error_that_quotes_bytes_that_are_no_text_carries_its_code(client: Client) -> None:
    """As an error does that cuts a letter of several bytes in the middle."""
    with pytest.raises(DatabaseError, match=r"Cannot parse string '\ufffdx'") as caught:
        client.command("SELECT toUInt64(concat(unhex('ed'), 'x'))")
    assert caught.value.code == 6


def test_error_headers_and_statuses(url: str) -> None:
    missing = httpx.post(url, content="SELECT * FROM nowhere")
    assert (missing.status_code, missing.headers["X-ClickHouse-Exception-Code"]) == (404, "60")
    assert missing.text.startswith("Code: 60. DB::Exception:")
    wrong = httpx.post(url, content=b"1,x\n" * 2_000_000, params={"query": "INSERT INTO nowhere FORMAT CSV"})
    assert (wrong.status_code, wrong.headers["X-ClickHouse-Exception-Code"]) == (404, "60")
    unknown = httpx.post(url, content="SELECT 1", params={"no_such_setting": "1"})
    assert (unknown.status_code, unknown.headers["X-ClickHouse-Exception-Code"]) == (500, "115")
    bad = httpx.post(url, content=b"not a frame", headers={"Content-Encoding": "lz4"})
    assert (bad.status_code, bad.headers["X-ClickHouse-Exception-Code"]) == (500, "1002")


def test_answer_names_format_timezone_query_and_summary(url: str) -> None:
    answer = httpx.post(url, params={"query": "SELECT 1", "query_id": "mine", "default_format": "CSV"})
    assert answer.text == "1\n"
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine"
    assert answer.headers["X-ClickHouse-Format"] == "CSV"
    assert answer.headers["X-ClickHouse-Timezone"]
    assert '"result_rows": "1"' in answer.headers["X-ClickHouse-Summary"]
    assert httpx.post(url, content="SELECT 1", headers={"X-ClickHouse-Format": "JSONEachRow"}).text == '{"1":1}\n'
    assert httpx.get(url.rpartition("/")[0] + "/ping").text == "Ok.\n"


def test_long_parameters_as_a_form(url: str) -> None:
    with clickhouse_connect.get_client(dsn=url, form_encode_query_params=True) as client:
        assert client.query("SELECT {x:String}", parameters={"x": "é" * 5000}).result_rows == [("é" * 5000,)]


def test_async_client(url: str, client: Client) -> None:
    pytest.importorskip("aiohttp")

    async def use() -> list[int]:
        async with await clickhouse_connect.get_async_client(dsn=url) as asynchronous:
            await asynchronous.insert("ticks", [[1, "x"], [2, "y"]], ["id", "symbol"])
            counts = await asyncio.gather(*(asynchronous.query("SELECT count() FROM ticks") for _ in range(8)))
        return [result.first_row[0] for result in counts]

    assert asyncio.run(use()) == [2] * 8


def insert_and_count(url: str, process: int, rounds: int) -> None:
    with clickhouse_connect.get_client(dsn=url) as client:
        for number in range(rounds):
            first = (process * rounds + number) * 1000
            client.insert_df_arrow("ticks", ticks(1000).with_columns(pl.col("id") + first))
            client.command("SELECT count() FROM ticks")


@pytest.mark.slow
def test_clients_in_several_processes_lose_nothing(url: str, client: Client) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=insert_and_count, args=(url, number, 5)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 2
    assert client.query("SELECT count(), uniqExact(id) FROM ticks").result_rows == [(10_000, 10_000)]


@pytest.mark.slow
def test_acknowledged_inserts_survive_a_kill(local_home: Path) -> None:
    with LocalStack(settings_of(local_home), services=["clickhouse"]) as stack:
        url, acknowledged = stack.endpoints.clickhouse_url or "", list[int]()
        with clickhouse_connect.get_client(dsn=url) as client:
            make_table(client)

        def write() -> None:
            with clickhouse_connect.get_client(dsn=url) as client:
                for number in range(10_000):
                    client.insert_df_arrow("ticks", ticks(500).with_columns(pl.col("id") + number * 500))
                    acknowledged.append(number)

        def write_until_the_end() -> None:
            with pytest.raises(ClickHouseError):
                write()

        writer = threading.Thread(target=write_until_the_end)
        writer.start()
        deadline = time.monotonic() + 60
        while len(acknowledged) < 20 and time.monotonic() < deadline:
            time.sleep(0.005)
        stack.server("clickhouse").kill()
        writer.join(120)
        stack.server("clickhouse").start()
        with clickhouse_connect.get_client(dsn=url) as client:
            parts = client.query("SELECT intDiv(id, 500) AS batch, id % 2 AS half, count() FROM ticks GROUP BY ALL")
    stored = {(batch, half): rows for batch, half, rows in parts.result_rows}
    assert len(acknowledged) >= 20
    assert {(batch, half) for batch in acknowledged for half in (0, 1)} <= set(stored)
    assert set(stored.values()) == {250}, "what goes into one partition is there as a whole or not at all"


def test_what_a_killed_insert_had_sent_is_deleted_by_the_next_start(
    local_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (local_home / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(local_home / "tmp"))
    rows = b"7,kept by nobody\n" * 10_000

    def kept() -> list[Path]:
        return [file for file in local_home.rglob("*") if file.is_file() and rows[:1000] in file.read_bytes()]

    with LocalStack(settings_of(local_home), services=["clickhouse"]) as stack:
        url = stack.endpoints.clickhouse_url or ""
        with clickhouse_connect.get_client(dsn=url) as client:
            make_table(client)

        def body() -> Iterator[bytes]:
            yield b"INSERT INTO ticks (id, symbol) FORMAT CSV\n"
            deadline = time.monotonic() + 60
            while not kept() and time.monotonic() < deadline:
                yield rows
            assert len(kept()) == 1
            stack.server("clickhouse").kill()
            yield rows

        with pytest.raises(httpx.TransportError):
            httpx.post(url, content=body(), timeout=60)
        stack.server("clickhouse").start()
        assert kept() == []
        with clickhouse_connect.get_client(dsn=url) as client:
            client.raw_insert("ticks", ["id", "symbol"], rows, fmt="CSV")
            assert client.command("SELECT count() FROM ticks") == 10_000
        assert kept() == []

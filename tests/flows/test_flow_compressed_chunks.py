"""A hypertable of a flow whose chunks a person has compressed: deliveries change it as before, however many rows."""

from pathlib import Path

import psycopg
import pytest
from flow_files import PRICES, closes, deliver, lines, loaded, run

from marketdata_assets.flows.forget import forget

HYPERTABLE = PRICES.replace("  key: [code, day]\n", "  key: [code, day]\n  hypertable: day\n")


def compress(dsn: str) -> None:
    """Compress every chunk, and let no transaction decompress more than one row but those that lift the limit."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        limit = "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 1"
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" {limit}'.encode())
        connection.execute("ALTER TABLE prices SET (timescaledb.compress, timescaledb.compress_segmentby = 'code')")
        connection.execute("SELECT compress_chunk(c) FROM show_chunks('prices') c")


@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_a_delivery_into_compressed_chunks_ends_in_the_same_rows(timescale_dsn: str, tmp_path: Path, mode: str) -> None:
    prices = loaded(timescale_dsn, tmp_path, HYPERTABLE.replace("upsert", mode), a=[1, 2, 3, 4], b=[7, 8])
    compress(timescale_dsn)
    deliver(tmp_path, "a.csv", lines("a", [1, 20, 30, 40, 50]))
    assert run(prices, timescale_dsn, tmp_path).failed == ()
    assert closes(timescale_dsn) == [1, 20, 30, 40, 50]
    assert closes(timescale_dsn, "b") == [7, 8]


def test_the_rows_of_a_forgotten_file_are_deleted_from_compressed_chunks(timescale_dsn: str, tmp_path: Path) -> None:
    prices = loaded(timescale_dsn, tmp_path, HYPERTABLE, a=[1, 2, 3, 4], b=[7, 8])
    compress(timescale_dsn)
    with psycopg.connect(timescale_dsn) as connection:
        assert [forgotten.rows for forgotten in forget(connection, prices, ["a.csv"])] == [4]
    assert closes(timescale_dsn) == []
    assert closes(timescale_dsn, "b") == [7, 8]

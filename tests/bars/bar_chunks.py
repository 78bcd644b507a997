"""What a person may do to the chunks of the bars on TimescaleDB."""

import psycopg


def compress(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT compress_chunk(c) FROM show_chunks('stock_1min_qfq') c")


def decompress(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT decompress_chunk(c, true) FROM show_chunks('stock_1min_qfq') c")


def uncompressed(dsn: str) -> int:
    """Rows outside compressed batches."""
    with psycopg.connect(dsn) as connection:
        chunks = connection.execute("SELECT c::text FROM show_chunks('stock_1min_qfq') c").fetchall()
        counts = [connection.execute(f"SELECT count(*) FROM ONLY {chunk}".encode()).fetchone() for (chunk,) in chunks]
    return sum(row[0] for row in counts if row)

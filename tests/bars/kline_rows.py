"""Minutes written into the table as they are, and the K-lines that are made of them."""

from collections.abc import Sequence

import psycopg

from marketdata_assets.bars import kline, schema

Bar = tuple[str, str, str | None, *tuple[str | None, ...]]
"""Time, code, name, open, high, low, close, volume, amount."""

BOTH_MONTHS = ["2000-06", "2000-07"]
GOOD: Bar = ("2000-06-09 09:31:00", "600000.SH", "名", "10", "12", "9", "11", "5", "500")


def bar(time: str, code: str = "600000.SH", name: str | None = "名", cells: str = "10 12 9 11 5 500") -> Bar:
    return (time, code, name, *(None if cell == "-" else cell for cell in cells.split()))


def insert(dsn: str, bars: Sequence[Bar]) -> None:
    with psycopg.connect(dsn) as connection:
        schema.ensure(connection)
        connection.cursor().executemany(
            "INSERT INTO stock_1min_qfq (time, code, name, open, high, low, close, volume, amount)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            bars,
        )


def lines(dsn: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        query = f'SELECT {", ".join(kline.COLUMNS)} FROM stock_monthly_kline ORDER BY month, code COLLATE "C"'
        return connection.execute(query.encode()).fetchall()


def execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())

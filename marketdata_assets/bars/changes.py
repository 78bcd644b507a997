"""Months of minute bars changed since their K-line was last refreshed, by code: what makes a K-line stale.

The loader records them in the transaction of the rows, so no event of a run is needed to find a stale K-line. A refresh
deletes the records that it saw before it read the minutes; those of a load that commits meanwhile stay.
"""

from collections.abc import Collection, Sequence

import psycopg

from marketdata_assets.bars.coverage import first_day


def record(connection: psycopg.Connection, changed: Collection[tuple[str, str]], run_id: str) -> None:
    """Record codes and months (`YYYY-MM`) in the transaction that changes their rows."""
    if changed:
        codes, months = zip(*sorted(changed), strict=True)
        connection.execute(
            """INSERT INTO stock_1min_changes (code, month, run_id)
               SELECT code, month, %s FROM unnest(%s::text[], %s::date[]) AS changed (code, month)""",
            [run_id, list(codes), [first_day(month) for month in months]],
        )


def stale(connection: psycopg.Connection, run_id: str | None = None) -> dict[str, int]:
    """The months whose K-line is stale, each with its newest record; with `run_id`, those that this run changed."""
    if connection.execute("SELECT to_regclass('stock_1min_changes') IS NULL").fetchone() == (True,):
        return {}
    rows = connection.execute(
        """SELECT to_char(month, 'YYYY-MM'), max(id) FROM stock_1min_changes
           WHERE %(run)s::text IS NULL OR run_id = %(run)s GROUP BY month ORDER BY month""",
        {"run": run_id},
    )
    return dict(rows.fetchall())


def seen(connection: psycopg.Connection, months: Collection[str] | None = None) -> list[int]:
    """The records of `months`, or of all, that are committed now."""
    days = None if months is None else [first_day(month) for month in months]
    rows = connection.execute(
        "SELECT id FROM stock_1min_changes WHERE %(days)s::date[] IS NULL OR month = ANY(%(days)s)", {"days": days}
    )
    return [number for (number,) in rows]


def codes(connection: psycopg.Connection, records: Sequence[int]) -> list[str] | None:
    """The codes of `records`; None when there are no records."""
    rows = connection.execute("SELECT DISTINCT code FROM stock_1min_changes WHERE id = ANY(%s)", [list(records)])
    return sorted(code for (code,) in rows) or None


def refreshed(connection: psycopg.Connection, records: Sequence[int]) -> None:
    """Delete records whose minutes the K-line now has."""
    if records:
        connection.execute("DELETE FROM stock_1min_changes WHERE id = ANY(%s)", [list(records)])

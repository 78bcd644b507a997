"""Rejected rows, kept as they were read, with the reason and the place they came from.

Which rows are rejected is the domain's business.
"""

from collections.abc import Iterable

import psycopg
from psycopg.rows import class_row

from marketdata_assets.stores.bookkeeping import Quarantined, Reject


def replace_rejects(
    connection: psycopg.Connection, dataset: str, source: str, unit: str, rejects: Iterable[Reject]
) -> None:
    """Make `rejects` the only rows of this unit in quarantine."""
    connection.execute(
        "DELETE FROM marketdata_quarantine WHERE (dataset, source, unit) = (%s, %s, %s)", [dataset, source, unit]
    )
    rows = list(rejects)
    if not rows:
        return
    columns = "dataset, source, unit, line, slice, reason, raw"
    with connection.cursor().copy(f"COPY marketdata_quarantine ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row((dataset, source, unit, row.line, row.slice, row.reason, row.raw))


def listed(connection: psycopg.Connection, dataset: str, limit: int = 100) -> list[Quarantined]:
    """Read up to `limit` quarantined rows of `dataset`, ordered by place."""
    with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        return cursor.execute(
            "SELECT line, reason, raw, slice, source, unit FROM marketdata_quarantine WHERE dataset = %s"
            " ORDER BY source, unit, line LIMIT %s",
            [dataset, limit],
        ).fetchall()

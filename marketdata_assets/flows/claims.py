"""Who works on which unit. A lock of the worker's session says it and ends with the worker; a row shows it to people.

Two workers on one unit do no harm, since the commit compares again; a claim only saves work. So one older than CLAIM
is ignored.
"""

import time
from collections.abc import Iterable

import psycopg

from marketdata_assets import lock_waits
from marketdata_assets.loading.files import Unit
from marketdata_assets.stores.postgres import value

CLAIM = "15 minutes"
POLL_SECONDS = 0.1


def register(connection: psycopg.Connection, dataset: str, units: Iterable[Unit]) -> None:
    """Give a number to each unit that has none; until it is read its state is pending."""
    connection.execute(
        "INSERT INTO marketdata_flow_units (dataset, unit) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
        [dataset, [unit.place for unit in units]],
    )


def number(connection: psycopg.Connection, dataset: str, unit: Unit) -> int | None:
    """The unit's number, which a rebuild changes; None when the unit was forgotten."""
    query = "SELECT id FROM marketdata_flow_units WHERE (dataset, unit) = (%s, %s)"
    found: int | None = value(connection, query, [dataset, unit.place])
    return found


def states(connection: psycopg.Connection, dataset: str) -> dict[str, tuple[int | None, int | None, str | None]]:
    """Size, time of the last change in ns and content hash of each unit's file when it was last read."""
    rows = connection.execute(
        "SELECT unit, size, modified_ns, content_hash FROM marketdata_flow_units WHERE dataset = %s", [dataset]
    )
    return {unit: (size, changed, content) for unit, size, changed, content in rows}


def claim(connection: psycopg.Connection, dataset: str, unit: Unit, run_id: str, *, wait: bool) -> int | None:
    """The unit's number, once nobody else works on it; None when somebody does, unless `wait`."""
    number = _claimed(connection, dataset, unit, run_id, expired=False)
    if number is not None or not wait:
        return number
    holder = ""
    with lock_waits.reported(f"{dataset}: {unit.place}", lambda: holder):
        expired = False
        while (number := _claimed(connection, dataset, unit, run_id, expired)) is None:
            row = connection.execute(
                "SELECT claim_until < now(), run_id, date_trunc('second', claimed_at AT TIME ZONE 'UTC')"
                " FROM marketdata_flow_units WHERE (dataset, unit) = (%s, %s)",
                [dataset, unit.place],
            ).fetchone()
            expired = row is not None and row[0] is True
            holder = f"run {row[1]} since {row[2]} UTC" if row else ""
            if not expired:
                time.sleep(POLL_SECONDS)
    return number


def _claimed(connection: psycopg.Connection, dataset: str, unit: Unit, run_id: str, expired: bool) -> int | None:
    """The unit's number once it is claimed, from others too where their claim has `expired`; None when they hold it."""
    query = (
        "INSERT INTO marketdata_flow_units (dataset, unit, run_id, claimed_at, claim_until)"
        " SELECT %(dataset)s, %(unit)s, %(run_id)s, now(), now() + %(claim)s::interval"
        " WHERE pg_try_advisory_lock(hashtextextended(%(key)s, 2)) OR %(expired)s"
        " ON CONFLICT (dataset, unit) DO UPDATE"
        " SET (run_id, claimed_at, claim_until) = (EXCLUDED.run_id, EXCLUDED.claimed_at, EXCLUDED.claim_until)"
        " RETURNING id"
    )
    values = {"dataset": dataset, "unit": unit.place, "run_id": run_id, "claim": CLAIM, "expired": expired}
    found: int | None = value(connection, query, {**values, "key": f"{dataset}\n{unit.place}"})
    return found


def settle(
    connection: psycopg.Connection, dataset: str, unit: Unit, content_hash: str | None, changed_ns: int | None
) -> None:
    """End the claim and note which bytes were read; the file is hashed again next time when `changed_ns` is None."""
    connection.execute(
        "UPDATE marketdata_flow_units SET (size, modified_ns, content_hash, claim_until) = (%s, %s, %s, NULL)"
        " WHERE (dataset, unit) = (%s, %s)",
        [unit.size, changed_ns, content_hash, dataset, unit.place],
    )


def release(connection: psycopg.Connection, dataset: str, unit: Unit) -> None:
    """Let others work on the unit."""
    connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 2))", [f"{dataset}\n{unit.place}"])

"""Books of flows that are full: units of a flow that is not there, for what is measured or tested beside them."""

import psycopg

from marketdata_assets.flows import storage

FLOW = "other"
FULL = """
INSERT INTO marketdata_flow_tables VALUES ('flow:{flow}', '{flow}', 'upsert');
INSERT INTO marketdata_flow_units (dataset, unit, size, modified_ns, content_hash)
SELECT 'flow:{flow}', 'day_' || number, 1, 1, 'x' FROM generate_series(1, {units}) AS number;
INSERT INTO marketdata_flow_moves (source, target, rows) SELECT 0, id, 100 FROM marketdata_flow_units;
INSERT INTO marketdata_flow_moves (source, target, rows) SELECT id - 1, id, 10 FROM marketdata_flow_units WHERE id > 1;
INSERT INTO marketdata_ledger (dataset, source, unit, content_hash, outcome, code_version, run_id, started, finished,
                               slices, read, skipped, rows, rejected)
SELECT dataset, unit, unit, 'x', 'ok', 'v', 'r', now(), now(), '{{}}', 101, 0, 100, 1 FROM marketdata_flow_units;
INSERT INTO marketdata_quarantine (dataset, source, unit, line, reason, raw)
SELECT dataset, unit, unit, 2, 'a reason', '' FROM marketdata_flow_units
"""


def fill(connection: psycopg.Connection, units: int) -> None:
    """Record so many units of a flow `other`, each of which has superseded rows of the one before."""
    storage.ensure_books(connection)
    connection.execute(FULL.format(flow=FLOW, units=units).encode())

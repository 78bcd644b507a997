-- Purpose: what is recorded of the files of a new table becomes that of the flow. Of files that are no longer there, and so not
--          in the new table, the ledger says that their rows are removed.
-- Parameters: dataset, of the flow; new, of the rebuild; version, of the flow's rows; table, mode.
DELETE FROM marketdata_flow_moves
WHERE source = ANY(ARRAY(SELECT id FROM marketdata_flow_units WHERE dataset = %(dataset)s))
   OR target = ANY(ARRAY(SELECT id FROM marketdata_flow_units WHERE dataset = %(dataset)s));
DELETE FROM marketdata_flow_units AS old USING marketdata_flow_units AS new
WHERE old.dataset = %(dataset)s AND new.dataset = %(new)s AND old.unit = new.unit;
UPDATE marketdata_flow_units SET dataset = %(dataset)s WHERE dataset = %(new)s;
DELETE FROM marketdata_flow_new_columns WHERE dataset = %(dataset)s;
UPDATE marketdata_flow_new_columns SET dataset = %(dataset)s WHERE dataset = %(new)s;
DELETE FROM marketdata_flow_added_columns WHERE dataset = %(dataset)s;
UPDATE marketdata_flow_added_columns SET dataset = %(dataset)s WHERE dataset = %(new)s;
DELETE FROM marketdata_quarantine WHERE dataset = %(dataset)s;
UPDATE marketdata_quarantine SET dataset = %(dataset)s WHERE dataset = %(new)s;
DELETE FROM marketdata_ledger AS old USING marketdata_ledger AS new
WHERE old.dataset = %(dataset)s AND new.dataset = %(new)s AND old.unit = new.unit;
UPDATE marketdata_ledger SET outcome = 'removed', content_hash = NULL, rows = 0, rejected = 0, read = 0, skipped = 0
WHERE dataset = %(dataset)s;
UPDATE marketdata_ledger SET dataset = %(dataset)s, code_version = %(version)s
WHERE dataset = %(new)s;
UPDATE marketdata_ledger_log SET dataset = %(dataset)s WHERE dataset = %(new)s;
DELETE FROM marketdata_flow_tables WHERE dataset = %(new)s;
INSERT INTO marketdata_flow_tables (dataset, table_name, mode) VALUES (%(dataset)s, %(table)s, %(mode)s)
ON CONFLICT (dataset) DO UPDATE SET (table_name, mode) = (EXCLUDED.table_name, EXCLUDED.mode)

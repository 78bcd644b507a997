-- Purpose: all that is recorded of a rebuild that is given up. Parameters: dataset.
DELETE FROM marketdata_flow_moves
WHERE source = ANY(ARRAY(SELECT id FROM marketdata_flow_units WHERE dataset = %(dataset)s))
   OR target = ANY(ARRAY(SELECT id FROM marketdata_flow_units WHERE dataset = %(dataset)s));
DELETE FROM marketdata_flow_units WHERE dataset = %(dataset)s;
DELETE FROM marketdata_flow_new_columns WHERE dataset = %(dataset)s;
DELETE FROM marketdata_flow_added_columns WHERE dataset = %(dataset)s;
DELETE FROM marketdata_quarantine WHERE dataset = %(dataset)s;
DELETE FROM marketdata_ledger WHERE dataset = %(dataset)s;
DELETE FROM marketdata_ledger_log WHERE dataset = %(dataset)s;
DELETE FROM marketdata_flow_tables WHERE dataset = %(dataset)s

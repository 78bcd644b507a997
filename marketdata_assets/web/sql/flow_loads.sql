-- Purpose: the last attempts to load files of some flows, the newest first.
-- Parameters: datasets, most.
-- Locks: none.
SELECT dataset, unit, outcome, read, rows, rejected, finished, error FROM marketdata_ledger_log
WHERE dataset = ANY(%(datasets)s) ORDER BY id DESC LIMIT %(most)s

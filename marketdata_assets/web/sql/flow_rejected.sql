-- Purpose: how many rows of some flows are in quarantine; of a file that failed, the ledger counts none.
-- Parameters: datasets.
-- Locks: none.
SELECT dataset, count(*) FROM marketdata_quarantine WHERE dataset = ANY(%(datasets)s) GROUP BY dataset

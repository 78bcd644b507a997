-- Purpose: the files of some flows: how many, how many failed, rows in their tables, rejected rows, and the last load.
-- Parameters: datasets.
-- Locks: none.
SELECT dataset, count(*), count(*) FILTER (WHERE outcome = 'failed'), sum(rows)::bigint, sum(rejected)::bigint, max(finished)
FROM marketdata_ledger WHERE dataset = ANY(%(datasets)s) GROUP BY dataset

-- Purpose: what the ledger has of each dataset: units, failed ones, rows, the last load.
-- Parameters: none. Locks: none.
SELECT dataset, count(*) FILTER (WHERE outcome <> 'removed'), count(*) FILTER (WHERE outcome = 'failed'),
       sum(rows)::bigint, max(finished)
FROM marketdata_ledger GROUP BY dataset ORDER BY dataset

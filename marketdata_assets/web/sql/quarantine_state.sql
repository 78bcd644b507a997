-- Purpose: rejected rows of each dataset.
-- Parameters: none. Locks: none.
SELECT dataset, count(*) FROM marketdata_quarantine GROUP BY dataset

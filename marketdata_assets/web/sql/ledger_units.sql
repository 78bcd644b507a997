-- Purpose: the units of a period whose last load failed or rejected rows, the failed ones first.
-- Parameters: dataset, period (a month), most (rows). Locks: none.
SELECT source, unit, outcome, rejected, '', error, to_char(finished AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
FROM marketdata_ledger
WHERE dataset = %(dataset)s AND (outcome = 'failed' OR rejected > 0 AND outcome <> 'removed')
  AND CASE WHEN unit ~ '^\d{4}-\d{2}$' THEN unit ELSE to_char(finished AT TIME ZONE 'UTC', 'YYYY-MM') END = %(period)s
ORDER BY outcome <> 'failed', source, unit LIMIT %(most)s

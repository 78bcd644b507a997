-- Purpose: of all datasets but one, rows, rejected rows and failed units by the month that the unit is named for, or that
-- of its last load. Parameters: dataset (that one), most (rows). Locks: none.
SELECT dataset, CASE WHEN unit ~ '^\d{4}-\d{2}$' THEN unit ELSE to_char(finished AT TIME ZONE 'UTC', 'YYYY-MM') END AS period,
       sum(rows)::bigint, sum(rejected)::bigint, count(*) FILTER (WHERE outcome = 'failed')
FROM marketdata_ledger WHERE dataset <> %(dataset)s AND outcome <> 'removed'
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT %(most)s

-- Purpose: the minute bars at a glance, from the coverage record.
-- Parameters: none. Locks: none.
SELECT coalesce(sum(rows), 0)::bigint, count(*), max(last)
FROM (SELECT sum(rows - superseded) AS rows, max(last) AS last FROM stock_1min_coverage GROUP BY month) months

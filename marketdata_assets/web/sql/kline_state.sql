-- Purpose: the monthly K-line at a glance.
-- Parameters: none. Locks: none.
SELECT coalesce(sum(rows), 0)::bigint, count(*), max(month)
FROM (SELECT month, count(*) AS rows FROM stock_monthly_kline GROUP BY month) months

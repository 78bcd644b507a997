-- Purpose: minutes of each month by the coverage record, and the rejected rows that would be in it.
-- Parameters: dataset. Locks: none.
SELECT to_char(c.month, 'YYYY-MM'), c.rows, coalesce(q.rejected, 0)
FROM (SELECT month, sum(rows - superseded)::bigint AS rows FROM stock_1min_coverage GROUP BY month) c
LEFT JOIN (SELECT slice, count(*) AS rejected FROM marketdata_quarantine WHERE dataset = %(dataset)s GROUP BY slice) q
    ON q.slice = to_char(c.month, 'YYYY-MM')
ORDER BY 1

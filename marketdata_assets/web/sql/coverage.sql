-- Purpose: by month of a code, the rows that coverage counts, and the minutes on each day where they were counted.
-- Parameters: code. Locks: none.
SELECT to_char(c.month, 'YYYY-MM'), c.rows, d.bars
FROM (SELECT month, sum(rows - superseded)::bigint AS rows
      FROM stock_1min_coverage WHERE code = %(code)s GROUP BY month) c
LEFT JOIN stock_1min_days d ON d.code = %(code)s AND d.month = c.month
ORDER BY c.month

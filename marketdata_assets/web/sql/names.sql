-- Purpose: the last known name of each code, from the monthly K-line.
-- Parameters: codes. Locks: none.
SELECT code,
       (SELECT k.name FROM stock_monthly_kline k
        WHERE k.code = wanted.code AND k.name IS NOT NULL ORDER BY k.month DESC LIMIT 1)
FROM unnest(%(codes)s::text[]) AS wanted (code)

-- Purpose: codes that have a minute more than once, which a table without a unique constraint takes from other writers.
-- By month, so that a month of a market is sorted in pieces. Parameters: lo, hi, timestamps.
SELECT code || ' ' || to_char(date_trunc('month', time), 'YYYY-MM') AS place, count(DISTINCT time) AS expected,
       count(*) AS found
FROM stock_1min_qfq WHERE time >= %(lo)s AND time < %(hi)s
GROUP BY code, date_trunc('month', time) HAVING count(*) > count(DISTINCT time)

-- Purpose: the monthly K-line of a code, volume in lots, prices in yuan.
-- Parameters: code, first, last (months, both included), most (rows). Locks: none.
SELECT to_char(month, 'YYYY-MM-DD'), open::float8, high::float8, low::float8, close::float8, volume::float8
FROM stock_monthly_kline
WHERE code = %(code)s AND month BETWEEN %(first)s AND %(last)s
ORDER BY month LIMIT %(most)s

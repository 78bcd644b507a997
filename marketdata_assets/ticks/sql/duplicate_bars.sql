-- Purpose: symbol-days with more than one bar of a minute. `mine` is a condition on date and symbol.
SELECT toString(symbol) AS symbol, date, count() - uniqExact(ts) AS bars
FROM tick_data WHERE {mine} GROUP BY symbol, date HAVING bars > 0 ORDER BY symbol, date

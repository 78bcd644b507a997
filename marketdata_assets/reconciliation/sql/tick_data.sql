-- Purpose: each stock's day from the ticks of a month, in yuan. Parameters: first and last day.
SELECT toString(symbol) AS symbol, date, toInt64(count()) AS bars,
       argMinIf(open, ts, open IS NOT NULL) AS first_price, max(high) AS highest, min(low) AS lowest,
       argMaxIf(close, ts, close IS NOT NULL) AS last_price,
       toFloat64(sum(volume)) AS shares, sum(turnover) AS money
FROM tick_data WHERE date BETWEEN %(first)s AND %(last)s AND ifNull(currency, 'CNY') = 'CNY'
GROUP BY symbol, date

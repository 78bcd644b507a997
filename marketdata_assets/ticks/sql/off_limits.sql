-- Purpose: the days of symbols whose prices are beyond the limits of the day; days and symbols without limits are not
-- judged. {mine} is the condition on symbol and date; limits are rounded to cents, hence the tolerance.
SELECT toString(symbol) AS symbol, date, bars, provider, low, high, up, down
FROM (
    SELECT symbol, date, count() AS bars, any(provider) AS provider, min(low) AS low, max(high) AS high
    FROM tick_data WHERE {mine} GROUP BY symbol, date
) AS days
INNER JOIN (SELECT symbol, date, up, down FROM price_limits WHERE {mine} AND up > 0) AS limits USING (symbol, date)
WHERE high > up * 1.01 OR low < down / 1.01
ORDER BY symbol, date

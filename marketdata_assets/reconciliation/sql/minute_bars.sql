-- Purpose: each stock's day from the minute bars of a month. Parameters: first and last, the month's first and last day.
WITH bars AS (
    SELECT code, time, time::date AS date, open, high, low, close, volume, amount FROM stock_1min_qfq
    WHERE time >= {first}::date AND time < {last}::date + 1
), days AS (
    SELECT code, date, count(*) AS bars, min(time) AS opens, max(time) AS closes, max(high) AS high, min(low) AS low,
           sum(volume) AS lots, sum(amount) AS turnover
    FROM bars GROUP BY code, date
)
SELECT d.code, d.date, d.bars, o.open, d.high, d.low, c.close, d.lots * 100, d.turnover
FROM days d JOIN bars o ON o.code = d.code AND o.time = d.opens JOIN bars c ON c.code = d.code AND c.time = d.closes

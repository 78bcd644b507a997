-- Purpose: the K-line of the months in [lo, hi), computed from the minutes on any PostgreSQL.
-- Parameters: lo, hi, timestamps, first minute of a month. The joins read `clean`, not the raw table.
WITH clean AS (
    SELECT time, code, name, open, high, low, close, volume, amount FROM stock_1min_qfq
    WHERE time >= %(lo)s::timestamp AND time < %(hi)s::timestamp AND {clean}
), month AS (
    SELECT date_trunc('month', time) AS month, code, min(time) AS opens, max(time) AS closes,
           max(time) FILTER (WHERE name IS NOT NULL) AS named,
           max(high) AS high, min(low) AS low, sum(volume) AS volume, sum(amount) AS amount
    FROM clean GROUP BY 1, 2
)
SELECT m.month, m.code, n.name, o.open, m.high, m.low, c.close, m.volume, m.amount
FROM month m
JOIN clean o ON o.code = m.code AND o.time = m.opens
JOIN clean c ON c.code = m.code AND c.time = m.closes
LEFT JOIN clean n ON n.code = m.code AND n.time = m.named

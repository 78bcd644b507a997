-- Purpose: the average price of the last three days before some seams, and of the first three after them: as adjusted, and as
-- traded (amount by shares). Parameters: codes, befores, afters (the bars next to each seam), bars (of three days).
SELECT s.code AS symbol, s.before, q.side, q.time::date AS date, sum(q.close * q.volume)::float / sum(q.volume) AS adjusted,
       sum(q.amount)::float / sum(q.volume) / 100 AS traded
FROM unnest(%(codes)s::text[], %(befores)s::timestamp[], %(afters)s::timestamp[]) AS s(code, before, after)
CROSS JOIN LATERAL (
    (SELECT 'before' AS side, time, close, volume, amount FROM stock_1min_qfq b
     WHERE b.code = s.code AND b.time <= s.before ORDER BY time DESC LIMIT %(bars)s)
    UNION ALL
    (SELECT 'after', time, close, volume, amount FROM stock_1min_qfq b
     WHERE b.code = s.code AND b.time >= s.after ORDER BY time LIMIT %(bars)s)) q
WHERE q.volume > 0 AND q.amount > 0
GROUP BY 1, 2, 3, 4

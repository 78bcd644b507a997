-- Purpose: the average price of the first bars with trades on three days with bars: the last ones before a seam, and the first ones
-- after it; as adjusted, and as traded (amount by shares). Parameters: codes, befores, afters (the bars next to each seam),
-- lows, highs (between which the bars are of the two files), bars (of a day).
WITH RECURSIVE days AS (
    SELECT code, before, side, CASE side WHEN 'before' THEN before ELSE after END::date AS day,
           CASE side WHEN 'before' THEN coalesce(low, '-infinity') ELSE after END AS low,
           CASE side WHEN 'before' THEN before ELSE coalesce(high, 'infinity') END AS high, 1 AS number
    FROM unnest(%(codes)s::text[], %(befores)s::timestamp[], %(afters)s::timestamp[], %(lows)s::timestamp[],
        %(highs)s::timestamp[]) AS seam(code, before, after, low, high)
    CROSS JOIN (VALUES ('before'), ('after')) AS sides(side)
    UNION ALL
    SELECT code, before, side, next.day, low, high, number + 1
    FROM days CROSS JOIN LATERAL (
        SELECT CASE side
            WHEN 'before' THEN (SELECT max(time) FROM stock_1min_qfq b
                                WHERE b.code = days.code AND b.time < days.day AND b.time >= days.low)
            ELSE (SELECT min(time) FROM stock_1min_qfq b
                  WHERE b.code = days.code AND b.time >= days.day + 1 AND b.time <= days.high)
        END::date AS day) next
    WHERE number < 3 AND next.day IS NOT NULL
)
SELECT d.code AS symbol, d.before, d.side, d.day AS date, q.adjusted, q.traded
FROM days d
CROSS JOIN LATERAL (
    SELECT sum(close * volume)::float / sum(volume) AS adjusted, sum(amount)::float / sum(volume) / 100 AS traded
    FROM (SELECT close, volume, amount FROM stock_1min_qfq b
          WHERE b.code = d.code AND b.time >= greatest(d.day, d.low) AND b.time < d.day + 1 AND b.time <= d.high
            AND b.volume > 0 AND b.amount > 0
          ORDER BY b.time LIMIT %(bars)s) bars) q
WHERE q.adjusted IS NOT NULL

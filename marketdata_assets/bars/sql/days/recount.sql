-- Count the minutes of some codes and months in the table. The exchange's day is 09:30 to 15:00.
INSERT INTO stock_1min_days (code, month, bars)
SELECT t.code, t.month, array_agg(coalesce(c.bars, 0) ORDER BY day)
FROM unnest(%(codes)s::text[], %(months)s::date[]) AS t(code, month)
CROSS JOIN generate_series(1, 31) AS day
LEFT JOIN LATERAL (
    SELECT extract(day FROM time)::int AS day, count(*) AS bars FROM stock_1min_qfq b
    WHERE b.code = t.code AND b.time >= t.month AND b.time < t.month + interval '1 month'
      AND b.time::time BETWEEN '09:30' AND '15:00'
    GROUP BY 1) c USING (day)
GROUP BY t.code, t.month

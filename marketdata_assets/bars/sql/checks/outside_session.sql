-- Purpose: the days on which a code has bars and none of them from 09:30 to 15:00, with the newest file of the month.
-- Parameters: months, first days. Only codes and months with more rows than minutes of the exchange's day are checked.
WITH rows AS (
    SELECT code, month, sum(rows - superseded) AS rows FROM stock_1min_coverage
    WHERE month = ANY(%(months)s::date[]) GROUP BY 1, 2
), places AS (
    SELECT code, month FROM rows JOIN stock_1min_days d USING (code, month)
    WHERE rows > (SELECT sum(minutes) FROM unnest(d.bars) AS minutes)
)
SELECT p.code, found.day, found.bars, found.first, found.last, (
    SELECT source FROM stock_1min_coverage c WHERE (c.code, c.month) = (p.code, p.month)
    ORDER BY delivered DESC, source DESC LIMIT 1)
FROM places p
CROSS JOIN LATERAL (
    SELECT time::date AS day, count(*) AS bars, to_char(min(time), 'HH24:MI') AS first, to_char(max(time), 'HH24:MI') AS last
    FROM stock_1min_qfq b WHERE b.code = p.code AND b.time >= p.month AND b.time < p.month + interval '1 month'
    GROUP BY 1 HAVING NOT bool_or(time::time BETWEEN '09:30' AND '15:00')) found
ORDER BY 1, 2

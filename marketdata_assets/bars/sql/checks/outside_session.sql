-- Purpose: the days on which a code has bars and none of them from 09:30 to 15:00, or on which the exchange is closed, with the
-- newest file of the month. Parameters: months, first days; of the closed days, closed_months and closed_days, from 1 on.
-- Only codes and months with more rows than minutes of the exchange's day are checked for the former.
WITH rows AS (
    SELECT code, month, sum(rows - superseded) AS rows FROM stock_1min_coverage
    WHERE month = ANY(%(months)s::date[]) GROUP BY 1, 2
), places AS (
    SELECT code, month FROM rows JOIN stock_1min_days d USING (code, month)
    WHERE rows > (SELECT sum(minutes) FROM unnest(d.bars) AS minutes)
), closed AS (
    SELECT code, month, number, month + number - 1 AS day
    FROM unnest(%(closed_months)s::date[], %(closed_days)s::int[]) AS closed (month, number)
    JOIN stock_1min_days d USING (month) WHERE d.bars[number] > 0
), days AS (
    SELECT p.code, p.month, false AS is_closed, found.* FROM places p
    CROSS JOIN LATERAL (
        SELECT time::date AS day, count(*) AS bars, min(time) AS first, max(time) AS last
        FROM stock_1min_qfq b WHERE b.code = p.code AND b.time >= p.month AND b.time < p.month + interval '1 month'
        GROUP BY 1 HAVING NOT bool_or(time::time BETWEEN '09:30' AND '15:00')) found
    UNION ALL
    SELECT c.code, c.month, true, c.day, found.* FROM closed c
    CROSS JOIN LATERAL (
        SELECT count(*), min(time), max(time) FROM stock_1min_qfq b
        WHERE b.code = c.code AND b.time >= c.day AND b.time < c.day + 1) found
)
SELECT code, day, bars, to_char(first, 'HH24:MI'), to_char(last, 'HH24:MI'), (
    SELECT source FROM stock_1min_coverage c WHERE (c.code, c.month) = (days.code, days.month)
    ORDER BY delivered DESC, source DESC LIMIT 1), is_closed
FROM days ORDER BY 1, 2

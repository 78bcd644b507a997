-- Purpose: the minutes that a code has on most days of a month, and not on one of them. Parameters: code, day.
WITH bars AS (
    SELECT time::date AS day, to_char(time, 'HH24:MI') AS minute FROM stock_1min_qfq
    WHERE code = %(code)s AND time >= date_trunc('month', %(day)s::timestamp)
      AND time < date_trunc('month', %(day)s::timestamp) + interval '1 month'
      AND time::time BETWEEN '09:30' AND '15:00'
)
SELECT minute FROM bars GROUP BY minute
HAVING 2 * count(*) > (SELECT count(DISTINCT day) FROM bars) AND NOT bool_or(day = %(day)s::date)
ORDER BY minute

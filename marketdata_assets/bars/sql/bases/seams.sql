-- Purpose: where the bars of a code change from one file to another, next to or in some months, and the bars on both sides.
-- Parameters: months, first days. A time belongs to the newest file that covers it.
WITH spans AS (
    SELECT code, month, source, first, last, lag(source) OVER w AS source_before, lag(month) OVER w AS month_before
    FROM stock_1min_coverage WHERE rows > superseded WINDOW w AS (PARTITION BY code ORDER BY first, last)
), shared AS (
    SELECT code, month FROM stock_1min_coverage WHERE month = ANY(%(months)s::date[])
    GROUP BY code, month HAVING count(DISTINCT source) > 1
), candidates AS (
    SELECT code, first AS at FROM spans
    WHERE source <> source_before AND (month = ANY(%(months)s::date[]) OR month_before = ANY(%(months)s::date[]))
    UNION SELECT code, first FROM stock_1min_coverage JOIN shared USING (code, month)
    UNION SELECT code, last + interval '1 microsecond' FROM stock_1min_coverage JOIN shared USING (code, month)
), sides AS (
    SELECT s.code, b.time AS before, b.close, b.traded, a.time AS after, a.open, a.close AS close_after, a.traded AS traded_after
    FROM candidates s
    CROSS JOIN LATERAL (SELECT time, close, nullif(amount, 0) / nullif(volume, 0) / 100 AS traded FROM stock_1min_qfq q
                        WHERE q.code = s.code AND q.time < s.at ORDER BY time DESC LIMIT 1) b
    CROSS JOIN LATERAL (SELECT time, open, close, nullif(amount, 0) / nullif(volume, 0) / 100 AS traded FROM stock_1min_qfq q
                        WHERE q.code = s.code AND q.time >= s.at ORDER BY time LIMIT 1) a
)
SELECT DISTINCT s.code AS symbol, s.before, s.close::float AS close, s.traded::float AS traded, s.after, s.open::float AS open,
       s.close_after::float AS close_after, s.traded_after::float AS traded_after, bo.source AS source_before, ao.source AS source_after
FROM sides s
CROSS JOIN LATERAL (SELECT source FROM stock_1min_coverage c
                    WHERE c.code = s.code AND c.month = date_trunc('month', s.before) AND s.before BETWEEN c.first AND c.last
                    ORDER BY delivered DESC, source DESC, unit DESC LIMIT 1) bo
CROSS JOIN LATERAL (SELECT source FROM stock_1min_coverage c
                    WHERE c.code = s.code AND c.month = date_trunc('month', s.after) AND s.after BETWEEN c.first AND c.last
                    ORDER BY delivered DESC, source DESC, unit DESC LIMIT 1) ao
WHERE bo.source <> ao.source
ORDER BY 1, 2

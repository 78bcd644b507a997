-- Purpose: where the bars of a code change from one file to another, next to or in some months, and the bars on both sides.
-- The first bar of a month is of the newest file that begins with it, the last one of the newest that ends with it. Changes
-- within a month are given. Parameters: months, first days; of each change codes, befores, sources_before, afters,
-- sources_after, lows, highs, minutes_before, minutes_after.
WITH ends AS (
    SELECT code, month, first, source AS source_first, last, source AS source_last
    FROM stock_1min_coverage WHERE minutes IS NULL
    UNION ALL
    SELECT code, month, min(first),
           (array_agg(source ORDER BY first, delivered DESC, source COLLATE "C" DESC, unit COLLATE "C" DESC))[1], max(last),
           (array_agg(source ORDER BY last DESC, delivered DESC, source COLLATE "C" DESC, unit COLLATE "C" DESC))[1]
    FROM stock_1min_coverage WHERE minutes IS NOT NULL GROUP BY code, month
), places AS (
    SELECT *, lag(source_last) OVER w AS source_before, lag(last) OVER w AS before, lag(month) OVER w AS month_before
    FROM ends WINDOW w AS (PARTITION BY code ORDER BY month)
), seams AS (
    SELECT code, before, source_before, first AS after, source_first AS source_after, NULL::timestamp AS low,
           NULL::timestamp AS high, NULL::bytea AS minutes_before, NULL::bytea AS minutes_after
    FROM places
    WHERE source_first <> source_before AND (month = ANY(%(months)s::date[]) OR month_before = ANY(%(months)s::date[]))
    UNION ALL
    SELECT * FROM unnest(%(codes)s::text[], %(befores)s::timestamp[], %(sources_before)s::text[], %(afters)s::timestamp[],
        %(sources_after)s::text[], %(lows)s::timestamp[], %(highs)s::timestamp[], %(minutes_before)s::bytea[],
        %(minutes_after)s::bytea[])
)
SELECT s.code AS symbol, s.before, b.close, b.traded, s.after, a.open, a.close AS close_after, a.traded AS traded_after,
       s.source_before, s.source_after, s.low, s.high, s.minutes_before, s.minutes_after
FROM seams s
CROSS JOIN LATERAL (SELECT close::float, (nullif(amount, 0) / nullif(volume, 0) / 100)::float AS traded
                    FROM stock_1min_qfq q WHERE q.code = s.code AND q.time = s.before LIMIT 1) b
CROSS JOIN LATERAL (SELECT open::float, close::float, (nullif(amount, 0) / nullif(volume, 0) / 100)::float AS traded
                    FROM stock_1min_qfq q WHERE q.code = s.code AND q.time = s.after LIMIT 1) a
ORDER BY 1, 2

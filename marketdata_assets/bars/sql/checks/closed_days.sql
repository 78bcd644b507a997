-- Purpose: those of some days of which there are bars, with how many codes have any, one of these, and its newest file.
-- Parameter: days.
SELECT found.*, (
    SELECT source FROM stock_1min_coverage c WHERE (c.code, c.month) = (found.code, date_trunc('month', found.day)::date)
    ORDER BY delivered DESC, source DESC LIMIT 1) AS source
FROM (
    SELECT day, count(*) AS codes, min(code) AS code
    FROM unnest(%(days)s::date[]) AS day
    JOIN stock_1min_days d ON d.month = date_trunc('month', day)::date AND d.bars[extract(day FROM day)::int] > 0
    GROUP BY day) found
ORDER BY day

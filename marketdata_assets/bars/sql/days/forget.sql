-- Delete the counts of some codes and months; gives those in which other units provide minutes.
WITH touched AS (
    SELECT * FROM unnest(%(codes)s::text[], %(months)s::date[]) AS t(code, month)
), gone AS (
    DELETE FROM stock_1min_days d USING touched t WHERE d.code = t.code AND d.month = t.month
)
SELECT DISTINCT t.code, to_char(t.month, 'YYYY-MM') FROM touched t JOIN stock_1min_coverage c USING (code, month)
WHERE (c.source, c.unit) <> (%(source)s, %(unit)s)

-- The other units of some codes and months whose minutes lie between two times there, and those whose minutes are not named.
SELECT c.code, to_char(c.month, 'YYYY-MM'), c.source, c.unit, c.delivered, c.minutes, c.first, c.last
FROM unnest(%(codes)s::text[], %(months)s::date[], %(firsts)s::timestamp[], %(lasts)s::timestamp[])
    AS place (code, month, first, last)
JOIN stock_1min_coverage c USING (code, month)
WHERE (c.source, c.unit) <> (%(source)s, %(unit)s)
  AND (c.minutes IS NULL OR c.first <= place.last AND c.last >= place.first)

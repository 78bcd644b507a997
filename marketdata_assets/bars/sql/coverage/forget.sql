-- Delete the record of a unit for some months, or, when these are NULL, for all.
DELETE FROM stock_1min_coverage
WHERE (source, unit) = (%(source)s, %(unit)s) AND (%(months)s::date[] IS NULL OR month = ANY(%(months)s))
RETURNING code, to_char(month, 'YYYY-MM'), first, last, delivered, minutes, rows

-- Minutes of some codes and months that files newer than the unit provide.
SELECT code, to_char(month, 'YYYY-MM'), first, last FROM stock_1min_coverage
WHERE code = ANY(%(codes)s) AND month = ANY(%(months)s) AND (source, unit) <> (%(source)s, %(unit)s)
  AND (delivered, source, unit) > (%(delivered)s, %(source)s, %(unit)s) ORDER BY 1, 2, 3, 4

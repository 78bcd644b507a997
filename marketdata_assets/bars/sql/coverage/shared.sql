-- Codes and months in which other units than this one have minutes.
SELECT DISTINCT code, to_char(month, 'YYYY-MM') FROM stock_1min_coverage
WHERE code = ANY(%(codes)s) AND month = ANY(%(months)s) AND (source, unit) <> (%(source)s, %(unit)s)

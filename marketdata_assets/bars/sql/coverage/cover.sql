-- Record what a unit provides, a code and month each.
INSERT INTO stock_1min_coverage (source, unit, code, month, first, last, rows, superseded, delivered)
SELECT %(source)s, %(unit)s, code, month, first, last, rows, superseded, %(delivered)s
FROM unnest(%(codes)s::text[], %(months)s::date[], %(firsts)s::timestamp[], %(lasts)s::timestamp[], %(rows)s::bigint[],
            %(superseded)s::bigint[]) AS provided (code, month, first, last, rows, superseded)

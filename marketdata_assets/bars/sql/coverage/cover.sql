-- Record what units provide, a code and month each.
INSERT INTO stock_1min_coverage (source, unit, code, month, first, last, rows, superseded, delivered, minutes)
SELECT * FROM unnest(%(sources)s::text[], %(units)s::text[], %(codes)s::text[], %(months)s::date[],
    %(firsts)s::timestamp[], %(lasts)s::timestamp[], %(rows)s::bigint[], %(superseded)s::bigint[], %(delivered)s::bigint[],
    %(minutes)s::bytea[])

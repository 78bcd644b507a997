-- Record on units, a code and month each, how many more of their rows newer files provide, and which minutes they have.
UPDATE stock_1min_coverage c SET superseded = superseded + gone.rows, minutes = coalesce(c.minutes, gone.minutes)
FROM unnest(%(sources)s::text[], %(units)s::text[], %(codes)s::text[], %(months)s::date[], %(rows)s::bigint[],
    %(minutes)s::bytea[]) AS gone (source, unit, code, month, rows, minutes)
WHERE (c.source, c.unit, c.code, c.month) = (gone.source, gone.unit, gone.code, gone.month)

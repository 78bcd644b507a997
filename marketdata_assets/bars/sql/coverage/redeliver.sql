-- Record the files' present modification times where no other file is in the same months.
UPDATE stock_1min_coverage c SET delivered = now.delivered
FROM unnest(%(sources)s::text[], %(times)s::bigint[]) AS now(source, delivered)
WHERE c.source = now.source AND c.delivered <> now.delivered AND NOT EXISTS (SELECT FROM stock_1min_coverage o
    WHERE o.code = c.code AND o.month = c.month AND (o.source, o.unit) <> (c.source, c.unit))

-- Units whose file has another modification time than on record, and another file in its months.
SELECT DISTINCT c.source, c.unit FROM stock_1min_coverage c
JOIN unnest(%(sources)s::text[], %(times)s::bigint[]) AS now(source, delivered) USING (source)
WHERE c.delivered <> now.delivered AND EXISTS (SELECT FROM stock_1min_coverage o
    WHERE o.code = c.code AND o.month = c.month AND (o.source, o.unit) <> (c.source, c.unit))

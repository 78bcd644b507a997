-- Mark units older than this one, and superseded by it, as not loaded, since this one may now cover less.
UPDATE marketdata_ledger l SET slices = array_remove(slices, %(label)s), rows = (
    SELECT sum(o.rows - o.superseded) FROM stock_1min_coverage o WHERE (o.source, o.unit) = (l.source, l.unit))
FROM stock_1min_coverage c
WHERE l.dataset = 'stock_1min_qfq' AND l.source = c.source AND l.unit = c.unit
  AND c.code = %(code)s AND c.month = %(month)s
  AND c.superseded > 0 AND (c.delivered, c.source, c.unit) < (%(delivered)s, %(source)s, %(unit)s)

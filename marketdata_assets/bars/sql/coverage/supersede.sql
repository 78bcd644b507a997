-- Record on units older than this one that their rows were deleted: a row belonged to the newest that covers its time.
UPDATE stock_1min_coverage c SET superseded = superseded + owned.rows
FROM (SELECT o.source, o.unit, count(*) AS rows FROM unnest(%(deleted)s::timestamp[]) AS gone (time)
      CROSS JOIN LATERAL (
          SELECT source, unit FROM stock_1min_coverage
          WHERE code = %(code)s AND month = %(month)s AND gone.time BETWEEN first AND last
            AND (source, unit) <> (%(source)s, %(unit)s)
            AND (delivered, source, unit) < (%(delivered)s, %(source)s, %(unit)s)
          ORDER BY delivered DESC, source DESC, unit DESC LIMIT 1) o
      GROUP BY 1, 2) owned
WHERE (c.source, c.unit, c.code, c.month) = (owned.source, owned.unit, %(code)s, %(month)s)

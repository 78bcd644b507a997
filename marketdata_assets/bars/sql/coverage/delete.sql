-- Delete a code's rows of a span, except where a file newer than the unit provides them; gives the times deleted.
DELETE FROM stock_1min_qfq b WHERE code = %(code)s AND time BETWEEN %(first)s AND %(last)s AND NOT EXISTS (
    SELECT FROM stock_1min_coverage c WHERE c.code = b.code AND c.month = %(month)s
       AND (c.source, c.unit) <> (%(source)s, %(unit)s)
       AND (c.delivered, c.source, c.unit) > (%(delivered)s, %(source)s, %(unit)s)
       AND b.time BETWEEN c.first AND c.last)
RETURNING time

-- Purpose: rows in the files = rows in the table + rows superseded by newer files + rows in quarantine.
-- First by month, table against coverage; then by unit, file against coverage, quarantine and months not requested, and
-- ledger against coverage.
-- In quarantine are the first rejected rows of a last attempt that failed.
WITH counted AS (
    SELECT date_trunc('month', time)::date AS month, count(*) AS rows FROM stock_1min_qfq
    WHERE time >= %(lo)s AND time < %(hi)s GROUP BY 1
), provided AS (
    SELECT month, sum(rows - superseded)::bigint AS rows FROM stock_1min_coverage
    WHERE month = ANY(%(months)s::date[]) GROUP BY 1
), units AS (
    SELECT l.source, l.unit, l.read, l.skipped, l.rejected, l.outcome, coalesce(sum(c.rows), 0)::bigint AS rows,
           l.rows AS loaded, coalesce(sum(c.rows - c.superseded), 0)::bigint AS covered,
           (SELECT count(*) FROM marketdata_quarantine q
            WHERE (q.dataset, q.source, q.unit) = ('stock_1min_qfq', l.source, l.unit)) AS quarantined
    FROM marketdata_ledger l LEFT JOIN stock_1min_coverage c USING (source, unit)
    WHERE l.dataset = 'stock_1min_qfq' AND l.slices && %(slices)s
    GROUP BY l.source, l.unit, l.read, l.skipped, l.rejected, l.outcome, l.rows
)
SELECT to_char(coalesce(t.month, p.month), 'YYYY-MM') AS place, coalesce(p.rows, 0) AS expected,
       coalesce(t.rows, 0) AS found
FROM counted t FULL JOIN provided p USING (month)
WHERE coalesce(t.month, p.month) = ANY(%(months)s::date[]) AND coalesce(t.rows, 0) <> coalesce(p.rows, 0)
UNION ALL
SELECT source || '!' || unit, read, rows + rejected + skipped FROM units
WHERE read <> rows + rejected + skipped OR rejected <> quarantined AND outcome <> 'failed' OR loaded <> covered

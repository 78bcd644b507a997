-- Purpose: what became of the rows of each file: read in the loaded months, rejected, in the table, and replaced, by the newer files
-- that have minutes of the same codes and months. Parameters: dataset.
WITH read AS (
    SELECT source, sum(read - skipped)::bigint AS read, sum(rejected)::bigint AS rejected FROM marketdata_ledger
    WHERE dataset = %(dataset)s AND outcome <> 'removed' GROUP BY source
), loaded AS (
    SELECT source, sum(rows - superseded)::bigint AS rows FROM stock_1min_coverage GROUP BY source
), gone AS (
    SELECT c.source, c.unit, c.code, c.month, c.superseded, string_agg(DISTINCT o.source, ', ' ORDER BY o.source) AS newer
    FROM stock_1min_coverage c JOIN stock_1min_coverage o
      ON o.code = c.code AND o.month = c.month AND (o.delivered, o.source, o.unit) > (c.delivered, c.source, c.unit)
    WHERE c.superseded > 0 GROUP BY 1, 2, 3, 4, 5
), replaced AS (
    SELECT source, jsonb_object_agg(newer, rows) AS rows
    FROM (SELECT source, newer, sum(superseded) AS rows FROM gone GROUP BY 1, 2) AS by_newer GROUP BY source
)
SELECT source, read, rejected, coalesce(loaded.rows, 0), coalesce(replaced.rows, '{}')
FROM read LEFT JOIN loaded USING (source) LEFT JOIN replaced USING (source)

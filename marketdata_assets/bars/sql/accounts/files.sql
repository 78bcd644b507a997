-- The rows of each file: read, but for months that are not loaded and rows that are due again, in the table, rejected,
-- duplicates. Due again are those that its record has as left to newer files, and the ledger no longer.
SELECT l.source, sum(read - skipped - coalesce(left_over, 0) + superseded)::bigint, sum(rows)::bigint,
       (sum(rejected) - sum(twice))::bigint, sum(twice)::bigint
FROM marketdata_ledger l
LEFT JOIN (SELECT source, unit, sum(superseded) AS left_over FROM stock_1min_coverage
           WHERE superseded > 0 GROUP BY 1, 2) c
    USING (source, unit)
LEFT JOIN (SELECT source, unit, count(*) AS found FROM marketdata_quarantine
           WHERE dataset = %(dataset)s AND reason LIKE 'duplicate key %%' GROUP BY 1, 2) q USING (source, unit)
CROSS JOIN LATERAL (SELECT coalesce(q.found, 0) AS twice) t
WHERE l.dataset = %(dataset)s GROUP BY l.source

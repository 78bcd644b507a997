-- The rows of each file: read, but for months that are not loaded, in the table, rejected, duplicates.
SELECT l.source, sum(read - skipped)::bigint, sum(rows)::bigint, (sum(rejected) - sum(twice))::bigint, sum(twice)::bigint
FROM marketdata_ledger l
LEFT JOIN (SELECT source, unit, count(*) AS found FROM marketdata_quarantine
           WHERE dataset = %(dataset)s AND reason LIKE 'duplicate key %%' GROUP BY 1, 2) q USING (source, unit)
CROSS JOIN LATERAL (SELECT coalesce(q.found, 0) AS twice) t
WHERE l.dataset = %(dataset)s GROUP BY l.source

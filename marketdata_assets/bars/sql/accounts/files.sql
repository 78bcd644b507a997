-- The rows of each file: read, in the table, rejected, duplicates, of months that are not loaded.
SELECT l.source, sum(read)::bigint, sum(rows)::bigint, (sum(rejected) - sum(twice))::bigint, sum(twice)::bigint,
       sum(skipped)::bigint
FROM marketdata_ledger l
LEFT JOIN (SELECT source, unit, count(*) AS found FROM marketdata_quarantine
           WHERE dataset = %(dataset)s AND reason LIKE 'duplicate key %%' GROUP BY 1, 2) q USING (source, unit)
CROSS JOIN LATERAL (SELECT coalesce(q.found, 0) AS twice) t
WHERE l.dataset = %(dataset)s GROUP BY l.source

-- How many rows of the delivery before the present one a file no longer has, by file. Parameter: dataset.
SELECT source, sum(before - now)::bigint FROM (
    SELECT l.source, l.rows + l.superseded AS now, (
        SELECT p.rows + p.superseded FROM marketdata_ledger_log p
        WHERE (p.dataset, p.source, p.unit, p.content_hash) = (l.dataset, l.source, l.unit, l.previous_hash)
        ORDER BY id DESC LIMIT 1) AS before
    FROM marketdata_ledger l WHERE l.dataset = %(dataset)s AND l.previous_hash IS NOT NULL
) AS deliveries WHERE before > now GROUP BY source

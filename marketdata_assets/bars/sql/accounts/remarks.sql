-- What to say of loaded files, by file: how many rows of the delivery before the present one it no longer has, and remarks of
-- the load. Parameter: dataset.
SELECT source, 'removed ' || sum(before - now) || ' rows of the delivery before, of which it has none' FROM (
    SELECT l.source, l.rows + l.superseded AS now, (
        SELECT p.rows + p.superseded FROM marketdata_ledger_log p
        WHERE (p.dataset, p.source, p.unit, p.content_hash) = (l.dataset, l.source, l.unit, l.previous_hash)
        ORDER BY id DESC LIMIT 1) AS before
    FROM marketdata_ledger l WHERE l.dataset = %(dataset)s AND l.previous_hash IS NOT NULL
) AS deliveries WHERE before > now GROUP BY source
UNION ALL
SELECT source, CASE WHEN unit <> source THEN unit || ': ' ELSE '' END || error FROM marketdata_ledger
WHERE dataset = %(dataset)s AND outcome = 'ok' AND error IS NOT NULL
ORDER BY 1, 2

-- Purpose: the members of files of minute bars whose last load failed, or of which rows of a month were rejected.
-- Parameters: dataset, period (a month). Locks: none.
SELECT l.source, l.unit, l.outcome, coalesce(q.rejected, 0), '', l.error,
       to_char(l.finished AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), l.slices
FROM marketdata_ledger l
LEFT JOIN (
    SELECT source, unit, count(*) AS rejected FROM marketdata_quarantine
    WHERE dataset = %(dataset)s AND slice = %(period)s GROUP BY source, unit
) q USING (source, unit)
WHERE l.dataset = %(dataset)s AND (l.outcome = 'failed' OR q.rejected > 0)
ORDER BY l.outcome <> 'failed', l.source, l.unit

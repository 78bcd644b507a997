-- Rows of an older file that a newer one replaced, where no third one has minutes between those of the older, and
-- where none of them are due again.
SELECT source, min(newer), sum(superseded)::bigint FROM (
    SELECT c.source, c.unit, c.code, c.month, min(n.source) AS newer, c.superseded
    FROM stock_1min_coverage c JOIN stock_1min_coverage n USING (code, month)
    JOIN marketdata_ledger l ON (l.dataset, l.source, l.unit) = ('stock_1min_qfq', c.source, c.unit)
     AND to_char(c.month, 'YYYY-MM') = ANY(l.slices)
    WHERE c.superseded > 0 AND n.first <= c.last AND n.last >= c.first
      AND (n.delivered, n.source COLLATE "C", n.unit COLLATE "C") > (c.delivered, c.source COLLATE "C", c.unit COLLATE "C")
    GROUP BY c.source, c.unit, c.code, c.month, c.superseded HAVING count(DISTINCT n.source) = 1) alone
GROUP BY source, newer

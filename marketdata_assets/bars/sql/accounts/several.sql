-- Units of which several newer files have minutes between their own, or of which rows are due again in a month, so that
-- the ledger does not have it, with the minutes of all, the newest first.
WITH several AS (
    SELECT c.source, c.unit, c.code, c.month FROM stock_1min_coverage c JOIN stock_1min_coverage n USING (code, month)
    JOIN marketdata_ledger l ON (l.dataset, l.source, l.unit) = ('stock_1min_qfq', c.source, c.unit)
    WHERE c.superseded > 0 AND n.first <= c.last AND n.last >= c.first
      AND (n.delivered, n.source COLLATE "C", n.unit COLLATE "C") > (c.delivered, c.source COLLATE "C", c.unit COLLATE "C")
    GROUP BY 1, 2, 3, 4 HAVING count(DISTINCT n.source) > 1 OR NOT bool_and(to_char(c.month, 'YYYY-MM') = ANY(l.slices))
)
SELECT c.source, c.minutes, c.unit, c.code, c.month, n.source, n.minutes
FROM several JOIN stock_1min_coverage c USING (source, unit, code, month)
JOIN stock_1min_coverage n ON n.code = c.code AND n.month = c.month AND n.first <= c.last AND n.last >= c.first
 AND (n.delivered, n.source COLLATE "C", n.unit COLLATE "C") > (c.delivered, c.source COLLATE "C", c.unit COLLATE "C")
ORDER BY c.source, c.unit, c.code, c.month, n.delivered DESC, n.source COLLATE "C" DESC, n.unit COLLATE "C" DESC

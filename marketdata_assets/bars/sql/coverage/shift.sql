-- Count a unit's rows that newer files have taken from the table, and mark months as not loaded of which rows are due again.
-- Parameters: rows taken, twice, rows that are due again, the months of these, source, unit.
UPDATE marketdata_ledger SET rows = rows - %s, superseded = superseded + %s - %s,
    slices = ARRAY(SELECT month FROM unnest(slices) AS month WHERE month <> ALL(%s::text[]) ORDER BY 1)
WHERE dataset = 'stock_1min_qfq' AND source = %s AND unit = %s

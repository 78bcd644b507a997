-- The counts of some months, each code with the newest file that provides minutes of it.
SELECT d.code, d.month, d.bars, (
    SELECT c.source FROM stock_1min_coverage c WHERE c.code = d.code AND c.month = d.month
    ORDER BY c.delivered DESC, c.source DESC LIMIT 1) AS source
FROM stock_1min_days d WHERE d.month = ANY({months}::date[])

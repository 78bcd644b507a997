-- Purpose: months without the stock's name, which another month or a minute of the month has; of a stock that is in files
-- without names, none is missing.
SELECT k.month, k.code FROM stock_monthly_kline k
WHERE month = ANY(%(months)s) AND name IS NULL AND (
    EXISTS (SELECT FROM stock_monthly_kline other WHERE other.code = k.code AND other.name IS NOT NULL)
    OR EXISTS (SELECT FROM stock_1min_qfq b WHERE b.code = k.code AND b.name IS NOT NULL
               AND b.time >= k.month AND b.time < k.month + interval '1 month'))

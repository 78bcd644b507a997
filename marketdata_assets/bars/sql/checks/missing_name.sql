-- Purpose: months in which no minute carried the stock's name.
SELECT month, code FROM stock_monthly_kline
WHERE month = ANY(%(months)s) AND name IS NULL

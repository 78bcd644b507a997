-- Purpose: months with a negative volume or amount. Prices may be negative, these may not.
SELECT month, code, volume, amount FROM stock_monthly_kline
WHERE month = ANY(%(months)s) AND (volume < 0 OR amount < 0)

-- Purpose: months with shares traded and no money paid.
SELECT month, code, volume, amount FROM stock_monthly_kline
WHERE month = ANY(%(months)s) AND volume > 0 AND amount = 0

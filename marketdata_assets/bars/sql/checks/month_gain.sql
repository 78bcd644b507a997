-- Purpose: months that gained more than 1000 % from open to close. Odd, but adjusted prices near zero can do it.
SELECT month, code, open, close FROM stock_monthly_kline
WHERE month = ANY(%(months)s) AND open > 0 AND (close - open) / open > 10

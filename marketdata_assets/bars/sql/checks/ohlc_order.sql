-- Purpose: months whose high is not the highest or whose low is not the lowest of the four prices.
SELECT month, code, open, high, low, close FROM stock_monthly_kline
WHERE month = ANY(%(months)s) AND (high < low OR high < open OR high < close OR low > open OR low > close)

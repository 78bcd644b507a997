-- Purpose: each stock's day from the daily files. Parameters: first and last, the month's first and last day.
SELECT code, trade_date, NULL, open, high, low, close, volume, amount FROM stock_daily
WHERE trade_date >= {first} AND trade_date <= {last}

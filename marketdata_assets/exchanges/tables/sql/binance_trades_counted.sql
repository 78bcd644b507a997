-- Purpose: how many rows of Binance's trades are stored of a day, copies that are not merged yet included.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT toInt64(count()) AS n
FROM exchange_trades
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')} AND exchange = 'binance'

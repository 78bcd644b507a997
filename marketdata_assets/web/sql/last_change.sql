-- Purpose: the last change of a book on a day, ns; the last record where there are only whole books.
-- Parameters: exchange, market_type, instrument, first, end (a half-open span). Locks: none.
SELECT if(countIf(kind = 'delta') > 0, maxIf(toUnixTimestamp64Nano(time), kind = 'delta'), max(toUnixTimestamp64Nano(time))) AS at
FROM exchange_orderbooks
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}

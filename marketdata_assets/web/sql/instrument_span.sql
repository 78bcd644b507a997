-- Purpose: the first and last minute of an instrument's bars, and their number.
-- Parameters: exchange, market_type, instrument. Locks: none.
SELECT min(time) AS first, max(time) AS last, toInt64(count()) AS minutes
FROM exchange_ohlcv_1m
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}

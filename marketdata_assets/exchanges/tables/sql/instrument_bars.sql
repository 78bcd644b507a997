-- Purpose: the bars of one instrument on a day.
-- Parameters: exchange, market_type, instrument; first, end (the day, half open). Locks: none.
SELECT time, open, high, low, close, volume, toInt64(trades) AS trades
FROM exchange_ohlcv_1m
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
    AND exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}

-- Purpose: the first change of a book in a span.
-- Parameters: exchange, market_type, instrument; first, end (a half-open span of the venue's time). Locks: none.
SELECT toUnixTimestamp64Nano(time) AS at, last_id, ifNull(prev_id, first_id - 1) AS begin
FROM exchange_orderbooks
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')} AND kind = 'delta'
ORDER BY time, last_id
LIMIT 1

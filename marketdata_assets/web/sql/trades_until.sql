-- Purpose: the last trades of an instrument in the hour up to an instant, newest first, each once.
-- Parameters: exchange, market_type, instrument, at (ns), most (rows). Locks: none.
SELECT
    formatDateTime(time, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC') AS time,
    toString(price) AS price, toString(size) AS size, toString(side) AS side
FROM exchange_trades AS t
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND t.time > fromUnixTimestamp64Nano({at:Int64} - 3600000000000, 'UTC') AND t.time <= fromUnixTimestamp64Nano({at:Int64}, 'UTC')
ORDER BY t.time DESC, trade_id DESC
LIMIT 1 BY trade_id
LIMIT {most:UInt32}

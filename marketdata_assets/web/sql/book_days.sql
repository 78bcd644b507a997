-- Purpose: the days on which books of an instrument were recorded, and how many records each has, the newest first. Only
-- columns of the key are read; copies that are not merged yet count.
-- Parameters: exchange, market_type, instrument, most (rows). Locks: none.
SELECT _partition_id AS day, toInt64(count()) AS records
FROM exchange_orderbooks
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
GROUP BY day
ORDER BY day DESC
LIMIT {most:UInt32}

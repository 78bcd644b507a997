-- Purpose: the times under which trades of some instruments are stored.
-- Parameters: exchanges, instruments; first, end (the span in ns, half open). Locks: none.
SELECT DISTINCT
    toString(exchange) AS exchange, toString(market_type) AS market_type, toString(instrument) AS instrument, trade_id,
    toUnixTimestamp64Nano(time) AS moment
FROM exchange_trades
WHERE exchange IN {exchanges:Array(String)} AND instrument IN {instruments:Array(String)}
    AND time >= fromUnixTimestamp64Nano({first:Int64}, 'UTC') AND time < fromUnixTimestamp64Nano({end:Int64}, 'UTC')

-- Purpose: the trades of one instrument in a span of time, as the history of its venue is compared with them.
-- Parameters: exchange, market_type, instrument; first, end (the span in ns, half open). Locks: none.
SELECT
    trade_id, toUnixTimestamp64Nano(time) AS moment, price, ifNull(contracts, ifNull(size, 0)) AS amount,
    toString(side) AS said, first_id, last_id
FROM exchange_trades FINAL
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time >= fromUnixTimestamp64Nano({first:Int64}, 'UTC') AND time < fromUnixTimestamp64Nano({end:Int64}, 'UTC')
ORDER BY moment, trade_id
SETTINGS do_not_merge_across_partitions_select_final = 1

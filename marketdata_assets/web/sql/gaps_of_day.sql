-- Purpose: the gaps of an instrument that touch a day, by time, and beside each how many there are.
-- Parameters: exchange, market_type, instrument, first, end (a half-open span), most (rows). Locks: none.
SELECT
    toString(stream) AS stream, toString(cause) AS cause,
    formatDateTime(time, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS began,
    greatest(0, ts_to - ts_from) / 1e9 AS seconds,
    last_id, next_id, isNull(healed_at) AS open, toInt64(count() OVER ()) AS of
FROM exchange_gaps FINAL
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time < {end:DateTime64(9, 'UTC')} AND ts_to >= toUnixTimestamp64Nano({first:DateTime64(9, 'UTC')})
ORDER BY time, stream
LIMIT {most:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Purpose: what is on record of the book of one instrument, without its levels: which record follows which.
-- Parameters: exchange, market_type, instrument; first, end (a half-open span of the venue's time). Locks: none.
SELECT
    toBool(kind != 'delta') AS whole,
    toBool(kind = 'checkpoint') AS checkpoint,
    toUnixTimestamp64Nano(time) AS at,
    ts_recv,
    last_id,
    ifNull(prev_id, first_id - 1) AS begin,
    toInt64(greatest(length(bids), length(asks))) AS depth,
    toString(unit) AS unit,
    content,
    isNull(ts_event) OR checkpoint AS ours
FROM exchange_orderbooks FINAL
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
ORDER BY time, last_id, begin, ts_recv
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Purpose: the records of one instrument's book on a day, without levels: where each begins and ends, in the venue's order.
-- Parameters: exchange, market_type, instrument; first, end (the day, half open). Locks: none.
SELECT toString(kind) AS kind, time, ts_recv, last_id, ifNull(prev_id, first_id - 1) AS begin
FROM exchange_orderbooks FINAL
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
    AND exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
ORDER BY time, last_id, begin
SETTINGS do_not_merge_across_partitions_select_final = 1

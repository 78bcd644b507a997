-- Purpose: what a snapshot and the changes from one on make of a book, at each of some instants: the levels that changed
-- since the instant before, with their last size. The step is the instant before, 0 for the first.
-- Parameters: exchange, market_type, instrument; first, end (a half-open span of the venue's time that has all of it);
-- base_at, base_content (the snapshot); from_at, from_id (the first change, ns and last_id); steps (0 and the instants but
-- the last, ns); last (the last instant, ns). Locks: none.
SELECT step, bid, level.1 AS price, argMax(level.2, (place, number)) AS size
FROM (
    SELECT
        if(kind = 'snapshot', 0, roundDown(toUnixTimestamp64Nano(time) - 1, {steps:Array(Int64)})) AS step,
        (kind = 'delta', toUnixTimestamp64Nano(time), ifNull(last_id, 0), ts_recv) AS place,
        arrayConcat(arrayMap(l -> (1, l), bids), arrayMap(l -> (0, l), asks)) AS levels
    FROM exchange_orderbooks FINAL
    WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
        AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
        AND if(
            kind = 'snapshot',
            toUnixTimestamp64Nano(time) = {base_at:Int64} AND content = {base_content:UInt64},
            (toUnixTimestamp64Nano(time), ifNull(last_id, 0)) >= ({from_at:Int64}, {from_id:Int64})
                AND toUnixTimestamp64Nano(time) <= {last:Int64}
        )
)
ARRAY JOIN levels AS one, arrayEnumerate(levels) AS number
ARRAY JOIN [one.1] AS bid, [one.2] AS level
GROUP BY step, bid, price
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Purpose: what a snapshot and the changes from one on make of a book, at each of some instants: the levels that changed
-- since the instant before, with their last size. The step is the instant before, 0 for the first. Copies that are not
-- merged yet do not matter: they have the same sizes. `{place}` is replaced by what orders `level`s, newest last.
-- Parameters: exchange, market_type, instrument; first, end (a half-open span of the venue's time that has all of it);
-- base_at, base_id, base_content (the snapshot); from_at, from_id (the first change, ns and last_id); steps (0 and the
-- instants but the last, ns); last (the last instant, ns). Locks: none.
WITH chosen AS (
    SELECT
        kind != 'delta' AS whole,
        toUnixTimestamp64Nano(time) AS at,
        if(whole, 0, roundDown(at - 1, {steps:Array(Int64)})) AS step,
        ts_recv, ifNull(last_id, 0) AS id, bids, asks
    FROM exchange_orderbooks
    WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
        AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
        AND if(
            whole,
            at = {base_at:Int64} AND content = {base_content:UInt64},
            (at, id) >= ({from_at:Int64}, {from_id:Int64}) AND at <= {last:Int64}
        )
)
SELECT step, level <= length(bids) AS bid, price, argMax(size, {place}) AS size
FROM chosen
ARRAY JOIN
    arrayConcat(bids.price, asks.price) AS price,
    arrayConcat(bids.size, asks.size) AS size,
    arrayEnumerate(arrayConcat(bids.price, asks.price)) AS level
GROUP BY step, bid, price

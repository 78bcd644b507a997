-- Purpose: the whole books of one instrument that are on record in a span, without their levels.
-- Parameters: exchange, market_type, instrument; first, end (a half-open span of the venue's time). Locks: none.
SELECT
    toString(kind) AS kind,
    toUnixTimestamp64Nano(time) AS at,
    ts_recv,
    last_id,
    toInt64(greatest(length(bids), length(asks))) AS depth,
    toString(unit) AS unit,
    content,
    isNull(ts_event) OR kind = 'checkpoint' AS ours
FROM exchange_orderbooks
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')} AND kind != 'delta'
ORDER BY time, ts_recv

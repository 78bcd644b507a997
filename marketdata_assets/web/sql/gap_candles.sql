-- Purpose: the candles in which trades or candles of the venue have a recorded gap, as seconds since 1970, by time.
-- Parameters: exchange, market_type, instrument; trades, candles (patterns of streams); first, end (a half-open span);
-- minutes (of a candle). Locks: none.
WITH
    toUnixTimestamp64Nano({first:DateTime64(9, 'UTC')}) AS first_ns,
    toUnixTimestamp64Nano({end:DateTime64(9, 'UTC')}) AS end_ns,
    {minutes:UInt32} * 60000000000 AS length_ns,
    greatest(ts_to, ts_from + 1) AS until_ns
SELECT DISTINCT toInt64(arrayJoin(range(
    toUInt32(intDiv(greatest(ts_from, first_ns), length_ns)),
    toUInt32(intDiv(least(until_ns, end_ns) - 1, length_ns) + 1)
)) * {minutes:UInt32} * 60) AS second
FROM exchange_gaps FINAL
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND (match(stream, {trades:String}) OR match(stream, {candles:String}))
    AND ts_from < end_ns AND until_ns > first_ns
ORDER BY second
SETTINGS do_not_merge_across_partitions_select_final = 1

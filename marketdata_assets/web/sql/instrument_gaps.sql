-- Purpose: the recorded gaps of an instrument by the day on which they began and by what they lack, the newest day first.
-- Parameters: exchange, market_type, instrument; trades, candles (patterns of streams), others (streams); most (rows).
-- Locks: none.
SELECT
    toString(toDate(time)) AS day,
    multiIf(
        match(stream, {trades:String}), 'trades',
        match(stream, {candles:String}), 'candles',
        has({others:Array(String)}, stream), toString(stream),
        'books'
    ) AS lacks,
    toInt64(count()) AS gaps,
    toInt64(countIf(isNull(healed_at))) AS open,
    sum(greatest(0, ts_to - ts_from)) / 1e9 AS seconds,
    arrayStringConcat(arraySort(groupUniqArray(toString(cause))), ', ') AS causes
FROM exchange_gaps FINAL
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
GROUP BY day, lacks
ORDER BY day DESC, lacks
LIMIT {most:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Purpose: candles of an instrument from its minutes, the newest first. Volume is null where a minute has none.
-- Parameters: exchange, market_type, instrument, first, end (a half-open span), minutes (of a candle; those of 7 and 30
-- days are a week from Monday and a month), most (rows).
-- Locks: none.
SELECT
    formatDateTime(multiIf(
        {minutes:UInt32} = 10080, toDateTime(toMonday(time, 'UTC'), 'UTC'),
        {minutes:UInt32} = 43200, toDateTime(toStartOfMonth(time, 'UTC'), 'UTC'),
        toDateTime(toStartOfInterval(time, toIntervalMinute({minutes:UInt32}), 'UTC'), 'UTC')
    ), '%Y-%m-%dT%H:%i:00', 'UTC') AS label,
    toFloat64(argMin(open, time)) AS open,
    toFloat64(max(high)) AS high,
    toFloat64(min(low)) AS low,
    toFloat64(argMax(close, time)) AS close,
    if(count(volume) = count(), toFloat64(sum(volume)), NULL) AS volume,
    toInt64(countIf(open_gaps > 0)) AS uncertain
FROM exchange_ohlcv_1m
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
GROUP BY label
ORDER BY label DESC
LIMIT {most:UInt32}

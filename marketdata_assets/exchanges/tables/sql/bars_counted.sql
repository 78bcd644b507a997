-- Purpose: the bars of a day, their instruments, and how many of the bars an open gap touches.
-- Parameters: day. Locks: none.
SELECT
    toInt64(count()) AS bars, toInt64(uniqExact(exchange, market_type, instrument)) AS instruments,
    toInt64(countIf(open_gaps > 0)) AS uncertain
FROM exchange_ohlcv_1m
WHERE toDate(time) = {day:Date}

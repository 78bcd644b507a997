-- Purpose: by instrument, the bars of a day, and how many of them have prices or volumes that contradict one another.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT
    toString(exchange) AS exchange, toString(market_type) AS market_type, toString(instrument) AS instrument,
    toInt64(count()) AS bars,
    toInt64(countIf(
        high < open OR high < close OR low > open OR low > close OR low > high
        OR taker_buy_volume > volume OR trades = 0
    )) AS wrong
FROM exchange_ohlcv_1m
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
GROUP BY exchange, market_type, instrument
ORDER BY wrong DESC, instrument

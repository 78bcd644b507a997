-- Purpose: the closes of the instruments with the most trades of a day, by name and time.
-- Parameters: first, end (the day, half open), most (how many instruments). Locks: none.
SELECT concat(exchange, ' ', instrument) AS name, time, toFloat64(close) AS close, open_gaps
FROM exchange_ohlcv_1m
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
    AND (exchange, market_type, instrument) IN (
        SELECT exchange, market_type, instrument
        FROM exchange_ohlcv_1m
        WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
        GROUP BY exchange, market_type, instrument
        ORDER BY sum(trades) DESC, instrument
        LIMIT {most:UInt8}
    )
ORDER BY name, time

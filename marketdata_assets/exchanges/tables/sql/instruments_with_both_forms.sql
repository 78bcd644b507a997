-- Purpose: the instruments that have single trades and aggregates of trades on a day, or at the end of the one
-- before or the beginning of the one after.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT exchange, market_type, instrument
FROM exchange_trades
WHERE time >= {first:DateTime64(9, 'UTC')} - INTERVAL 1 MINUTE
    AND time < {end:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE
GROUP BY exchange, market_type, instrument
HAVING uniqExact(aggregated) = 2

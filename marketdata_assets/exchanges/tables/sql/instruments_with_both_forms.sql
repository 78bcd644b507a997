-- Purpose: the instruments that have single trades and aggregates of trades on a day.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT exchange, market_type, instrument
FROM exchange_trades
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
GROUP BY exchange, market_type, instrument
HAVING uniqExact(aggregated) = 2

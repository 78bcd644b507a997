-- Purpose: how many rows each instrument has in a table on a day, and from when to when. `{table}` is replaced by the name of the table.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT
    toString(exchange) AS exchange, toString(market_type) AS market_type, toString(instrument) AS instrument,
    toInt64(count()) AS rows, min(time) AS first, max(time) AS last
FROM {table}
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
GROUP BY exchange, market_type, instrument
ORDER BY exchange, market_type, instrument

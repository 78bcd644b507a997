-- Purpose: how many trades each instrument had in each hour of a day.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT concat(exchange, ' ', instrument) AS name, toInt64(toHour(time)) AS hour, toInt64(count()) AS trades
FROM exchange_trades
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
GROUP BY name, hour
ORDER BY name, hour

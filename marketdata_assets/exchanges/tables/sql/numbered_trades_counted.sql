-- Purpose: how many rows of trades that are numbered without gaps are stored of a day, copies that are not merged yet included.
-- Parameters: first, end (the day, half open); numbered (venues whose aggregate trades are numbered). Locks: none.
SELECT toInt64(count()) AS n
FROM exchange_trades
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
    AND (isNotNull(sequence) OR has({numbered:Array(String)}, exchange))

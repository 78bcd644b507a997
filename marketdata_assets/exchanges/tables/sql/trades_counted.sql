-- Purpose: how many trades are stored of a day, each counted once.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT toInt64(count()) AS n
FROM exchange_trades FINAL
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}

-- Purpose: records of exchanges that a table could not take, by type and by the day on which they were first seen.
-- Parameters: since. Locks: none.
SELECT toString(type) AS kind, toString(toDate(seen)) AS day, toInt64(count()) AS records
FROM exchange_rejects FINAL WHERE seen >= {since:DateTime64(9, 'UTC')}
GROUP BY kind, day ORDER BY kind, day
LIMIT 20000

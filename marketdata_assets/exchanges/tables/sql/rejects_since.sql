-- Purpose: how many records of a type were rejected since a moment, by reason, with one of each.
-- Parameters: type, first. Locks: none.
SELECT reason, toInt64(count()) AS records, any(left(raw, 200)) AS example
FROM exchange_rejects FINAL
WHERE type = {type:String} AND seen >= {first:DateTime64(9, 'UTC')}
GROUP BY reason
ORDER BY records DESC

-- Purpose: the newest rejected records of each type.
-- Parameters: limit (records of a type). Locks: none.
SELECT toString(type) AS kind, toString(source) AS place, reason, raw
FROM exchange_rejects FINAL
ORDER BY seen DESC, raw
LIMIT {limit:UInt32} BY kind

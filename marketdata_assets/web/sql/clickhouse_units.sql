-- Purpose: the units of a period whose last load failed, rejected rows, or has days that are not final, the failed ones
-- first: those that are named for it, and of those that are files the ones that were loaded then.
-- Parameters: dataset, period (a month, or of exchanges a day), most (rows). Locks: none.
SELECT toString(source) AS source, toString(unit) AS unit, toString(outcome) AS outcome, toInt64(rejected) AS rejected,
    toString(slice_states) AS days, toString(error) AS error, formatDateTime(finished, '%Y-%m-%d %H:%i', 'UTC') AS finished
FROM (
    SELECT * FROM marketdata_ledger WHERE dataset = {dataset:String} AND startsWith(unit, {period:String})
    UNION ALL
    SELECT * FROM marketdata_ledger WHERE dataset = {dataset:String} AND NOT match(unit, '^[0-9]{4}-[0-9]{2}')
        AND startsWith(toString(toDate(finished)), {period:String})
)
WHERE outcome = 'failed' OR rejected > 0 OR match(slice_states, '"(provisional|incomplete)"')
ORDER BY outcome = 'failed' DESC, source, unit
LIMIT {most:UInt32}

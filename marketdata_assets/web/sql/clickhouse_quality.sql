-- Purpose: rows, rejected rows, failed units and days that are not final, by dataset and by the month that its units are
-- named for; of exchanges by day, from `since` on; of units that are files by that of their last load.
-- Parameters: since (a day), most (rows). Locks: none.
SELECT
    toString(dataset) AS dataset,
    substring(if(match(unit, '^[0-9]{4}-[0-9]{2}'), toString(unit), toString(toDate(finished))), 1, length) AS period,
    toInt64(sum(rows)) AS rows,
    toInt64(sum(rejected)) AS rejected,
    toInt64(countIf(outcome = 'failed')) AS failed,
    toInt64(sum(countSubstrings(slice_states, '"provisional"'))) AS provisional,
    toInt64(sum(countSubstrings(slice_states, '"incomplete"'))) AS incomplete
FROM (SELECT *, if(startsWith(dataset, 'exchange'), 10, 7) AS length FROM marketdata_ledger)
GROUP BY dataset, period, length
HAVING length = 7 OR period >= {since:String}
ORDER BY dataset, period
LIMIT {most:UInt32}

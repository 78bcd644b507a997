-- Purpose: recorded gaps by the day on which they began, and how many of them are open.
-- Parameters: since (a day). Locks: none.
SELECT toString(toDate(time)) AS day, toInt64(count()) AS gaps, toInt64(countIf(isNull(healed_at))) AS open
FROM exchange_gaps FINAL WHERE time >= toDateTime64({since:String}, 9, 'UTC')
GROUP BY day ORDER BY day
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Purpose: recorded gaps by each day that they touch, and how many of them are open.
-- Parameters: since (a day). Locks: none.
WITH 86400000000000 AS day_ns, toUnixTimestamp64Nano(toDateTime64({since:String}, 9, 'UTC')) AS since_ns
SELECT toString(toDate(day)) AS day, toInt64(count()) AS gaps, toInt64(countIf(isNull(healed_at))) AS open
FROM exchange_gaps FINAL
ARRAY JOIN range(
    toUInt32(intDiv(greatest(ts_from, since_ns), day_ns)), toUInt32(intDiv(greatest(ts_to, ts_from + 1) - 1, day_ns) + 1)
) AS day
WHERE greatest(ts_to, ts_from + 1) > since_ns
GROUP BY day ORDER BY day
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Purpose: how many records each stream of an instrument has on a day, by the name of the stream in the ledger of histories. `{table}` is
-- replaced by the name of the table, `{stream}` and `{time}` by expressions for the stream and the time of a record.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT
    concat(toString(exchange), ' ', toString(market_type), ' ', toString(instrument), ' ', {stream}) AS source,
    toInt64(count()) AS rows
FROM {table} FINAL
WHERE {time} >= {first:DateTime64(9, 'UTC')} AND {time} < {end:DateTime64(9, 'UTC')}
GROUP BY source
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Purpose: the partitions of a table that have rows, with the number of the newest part.
-- Parameters: table. Locks: none.
SELECT partition_id, toInt64(max(max_block_number)) AS newest
FROM system.parts
WHERE active AND rows > 0 AND database = currentDatabase() AND table = {table:String}
GROUP BY partition_id
ORDER BY partition_id

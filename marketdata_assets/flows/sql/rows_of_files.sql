-- Purpose: of each file of mode upsert, how many of its rows are in the table (its own name), how many of these it kept of
--          earlier contents (NULL), and how many which other file has superseded. Parameters: dataset.
WITH mine AS (
    SELECT id, unit FROM marketdata_flow_units WHERE dataset = %(dataset)s
), moved AS (
    SELECT target AS id, rows FROM marketdata_flow_moves UNION ALL SELECT source, -rows FROM marketdata_flow_moves
)
SELECT unit, unit AS holder, sum(rows)::bigint FROM mine JOIN moved USING (id) GROUP BY unit
UNION ALL
SELECT mine.unit, CASE WHEN source = target THEN NULL
                       WHEN other.id IS NULL THEN '(a forgotten file)'
                       WHEN other.dataset = %(dataset)s THEN other.unit
                       ELSE substr(other.dataset, 6) || '/' || other.unit END, superseded
FROM marketdata_flow_moves JOIN mine ON mine.id = source LEFT JOIN marketdata_flow_units AS other ON other.id = target
WHERE superseded > 0

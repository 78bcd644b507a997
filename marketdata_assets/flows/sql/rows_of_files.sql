-- Purpose: of each file of mode upsert, how many of its rows are in the table (its own name), how many of these it kept of
--          earlier contents (NULL), and how many which other file has superseded. Parameters: dataset.
WITH mine AS MATERIALIZED (
    SELECT id, unit FROM marketdata_flow_units WHERE dataset = %(dataset)s
)
SELECT unit, unit AS holder, coalesce((SELECT sum(rows) FROM marketdata_flow_moves WHERE target = id), 0)::bigint
                           - coalesce((SELECT sum(rows) FROM marketdata_flow_moves WHERE source = id), 0)::bigint
FROM mine
UNION ALL
SELECT mine.unit, CASE WHEN mine.id = target THEN NULL
                       WHEN other.unit IS NULL THEN '(a forgotten file)'
                       WHEN other.dataset = %(dataset)s THEN other.unit
                       ELSE substr(other.dataset, 6) || '/' || other.unit END, superseded
FROM mine
CROSS JOIN LATERAL (
    SELECT target, superseded FROM marketdata_flow_moves WHERE source = mine.id AND superseded > 0 OFFSET 0) AS moved
LEFT JOIN LATERAL (
    SELECT dataset, unit FROM marketdata_flow_units AS units WHERE units.id = target LIMIT 1) AS other ON true

-- Files whose rows in {table} are not as many as belong to them, of the dataset; rows that no file of a flow has given.
WITH owned AS (
    SELECT id, sum(rows) AS rows FROM (
        SELECT target AS id, rows FROM marketdata_flow_moves
        UNION ALL SELECT source, -rows FROM marketdata_flow_moves) AS moves GROUP BY id
), counted AS (
    SELECT etl_unit AS id, count(*) AS rows FROM {table} GROUP BY etl_unit
)
SELECT units.unit, coalesce(owned.rows, 0) AS loaded, coalesce(counted.rows, 0) AS in_table
FROM marketdata_flow_units AS units LEFT JOIN owned USING (id) LEFT JOIN counted USING (id)
WHERE units.dataset = %(dataset)s AND coalesce(owned.rows, 0) <> coalesce(counted.rows, 0)
UNION ALL
SELECT '(no file of a flow)', 0, sum(rows) FROM counted LEFT JOIN marketdata_flow_units AS units USING (id)
WHERE units.id IS NULL AND counted.id >= 0 HAVING sum(rows) > 0

-- Files whose rows in {table} are not as many as belong to them, of the dataset; rows that no file of a flow has given.
WITH owned AS MATERIALIZED (
    SELECT id, unit, coalesce((SELECT sum(rows) FROM marketdata_flow_moves WHERE target = id), 0)
                   - coalesce((SELECT sum(rows) FROM marketdata_flow_moves WHERE source = id), 0) AS rows
    FROM marketdata_flow_units WHERE dataset = %(dataset)s
), counted AS MATERIALIZED (
    SELECT etl_unit AS id, count(*) AS rows FROM {table} GROUP BY etl_unit
)
SELECT unit, owned.rows AS loaded, coalesce(counted.rows, 0) AS in_table
FROM owned LEFT JOIN counted USING (id) WHERE owned.rows <> coalesce(counted.rows, 0)
UNION ALL
SELECT '(no file of a flow)', 0, sum(rows) FROM counted
WHERE id >= 0 AND (SELECT true FROM marketdata_flow_units AS units WHERE units.id = counted.id) IS NULL HAVING sum(rows) > 0

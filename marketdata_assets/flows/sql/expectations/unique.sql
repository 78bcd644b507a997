-- The rows of {table} whose {column} another row has as well.
SELECT {row} AS row, {column}::text AS value, 'unique' AS expected
FROM (SELECT *, count(*) OVER (PARTITION BY {column}) AS times FROM {table} WHERE {column} IS NOT NULL) AS counted
WHERE times > 1

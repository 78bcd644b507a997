-- The rows of {table} whose {column} is not as expected: one case for each expectation of a single value.
SELECT * FROM (SELECT {row} AS row, {column}::text AS value, CASE {cases} END AS expected FROM {table}) AS compared
WHERE expected IS NOT NULL

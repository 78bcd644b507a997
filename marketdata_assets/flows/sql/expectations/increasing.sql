-- The rows of {table} whose {column} is less than in the row before, in the order of {by}, within equal {groups}.
SELECT {row} AS row, {column}::text AS value, 'at least ' || before AS expected
FROM (SELECT *, lag({column}) OVER ({groups} ORDER BY {by}) AS before FROM {table} WHERE {column} IS NOT NULL) AS lagged
WHERE {column} < before

-- The keys that {table} has more than once.
SELECT {key}, count(*) AS times FROM {table} GROUP BY {key} HAVING count(*) > 1

-- Purpose: the columns of a table that are NOT NULL, and those that an index begins with. Parameters: table.
SELECT 'required' AS fact, array_agg(attname::text) AS names FROM pg_attribute
WHERE attrelid = to_regclass(quote_ident(%(table)s)) AND attnum > 0 AND NOT attisdropped AND attnotnull
HAVING count(*) > 0
UNION ALL
SELECT 'indexed', array_agg(DISTINCT attname::text) FROM pg_index JOIN pg_attribute ON (attrelid, attnum) = (indrelid, indkey[0])
WHERE indrelid = to_regclass(quote_ident(%(table)s)) HAVING count(*) > 0

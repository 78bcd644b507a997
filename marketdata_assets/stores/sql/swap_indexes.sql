-- Purpose: the indexes of a table: name, kind (CREATE INDEX or CREATE UNIQUE INDEX) and what they are over.
-- Parameters: table, quoted.
SELECT quote_ident(c.relname), substring(definition FROM '^CREATE (?:UNIQUE )?INDEX'),
       substring(definition FROM ' USING .*')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid CROSS JOIN LATERAL pg_get_indexdef(i.indexrelid) AS definition
WHERE i.indrelid = to_regclass(%(table)s)

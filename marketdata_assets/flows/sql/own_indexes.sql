-- Purpose: the statements that drop those indexes of a table that its flow made: of its key, and of the rows of a file.
-- Parameters: table.
SELECT format('ALTER TABLE %%I DROP CONSTRAINT %%I', relname, conname)
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE contype = 'p' AND conrelid = to_regclass(quote_ident(%(table)s))
UNION ALL
SELECT format('DROP INDEX %%s', indexrelid::regclass)
FROM pg_index JOIN pg_attribute ON (attrelid, attnum) = (indrelid, indkey[0])
WHERE indrelid = to_regclass(quote_ident(%(table)s)) AND indnatts = 1 AND attname = 'etl_unit' AND NOT indisunique

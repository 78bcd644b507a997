-- Purpose: how a table was made, as JSON of `definitions.Table`. A key or an index with more than names of columns, such
-- as an expression, an order or a CHECK, is there as PostgreSQL writes it. Parameters: table, columns. Locks: none.
WITH named AS (
    SELECT to_regclass(quote_ident(%(table)s)) AS oid
), keys AS (
    SELECT
        pg_constraint.oid AS place,
        pg_get_constraintdef(pg_constraint.oid) AS text,
        CASE contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END AS kind,
        array(
            SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY key.place) AS columns
    FROM pg_constraint JOIN named ON conrelid = named.oid
    WHERE contype IN ('p', 'u', 'c')
), indexes AS (
    SELECT
        indexrelid AS place,
        pg_get_indexdef(indexrelid) AS text,
        made.relname::text AS name,
        indisunique AS is_unique,
        amname::text AS method,
        format('%%I.%%I', nspname, owner.relname) AS owner,
        array(
            SELECT attname::text FROM unnest(indkey) WITH ORDINALITY AS key (number, place)
            JOIN pg_attribute ON attrelid = indrelid AND attnum = number ORDER BY key.place) AS columns
    FROM pg_index
    JOIN named ON indrelid = named.oid
    JOIN pg_class made ON made.oid = indexrelid
    JOIN pg_am ON pg_am.oid = made.relam
    JOIN pg_class owner ON owner.oid = indrelid
    JOIN pg_namespace ON pg_namespace.oid = owner.relnamespace
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
), plain AS (
    SELECT *, method IN ('btree', 'brin', 'hash', 'gin') AND text = format(
        'CREATE %%sINDEX %%I ON %%s USING %%s (%%s)', CASE WHEN is_unique THEN 'UNIQUE ' ELSE '' END, name, owner, method,
        (SELECT string_agg(quote_ident(one), ', ') FROM unnest(columns) AS one)) AS is_plain
    FROM indexes
)
SELECT json_build_object(
    'columns', (
        SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod), attnotnull) ORDER BY attnum)
        FROM pg_attribute JOIN named ON attrelid = named.oid WHERE attname = ANY(%(columns)s)),
    'keys', (
        SELECT coalesce(json_agg(json_build_array(CASE text
            WHEN format('%%s (%%s)', kind, (SELECT string_agg(quote_ident(one), ', ') FROM unnest(columns) AS one))
            THEN kind ELSE text END, columns) ORDER BY place), '[]')
        FROM keys),
    'indexes', (
        SELECT coalesce(json_agg(json_build_array(name, is_unique, method, columns) ORDER BY place), '[]')
        FROM plain WHERE is_plain),
    'left_out', (SELECT coalesce(json_agg(text ORDER BY place), '[]') FROM plain WHERE NOT is_plain)
)::text

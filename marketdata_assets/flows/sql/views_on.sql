-- Purpose: the plain views on a table, those on such views after them, each with the statements that make it again:
--          definition, owner, comment, grants. Views of TimescaleDB are left out. Parameters: table.
WITH RECURSIVE above (id, depth) AS (
    SELECT to_regclass(quote_ident(%(table)s))::oid, 0
    UNION
    SELECT v.oid, depth + 1 FROM above JOIN pg_depend d ON d.refobjid = above.id AND d.refclassid = 'pg_class'::regclass
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.oid <> above.id AND v.relkind = 'v'
    WHERE v.relnamespace::regnamespace::text NOT LIKE '%%timescaledb%%'
), views AS (
    SELECT id, max(depth) AS depth FROM above WHERE depth > 0 GROUP BY id
), rights AS (
    SELECT id, '' AS part, a.* FROM views JOIN pg_class ON oid = id, aclexplode(relacl) a WHERE grantee <> relowner
    UNION ALL
    SELECT id, format('(%%I)', attname), a.* FROM views JOIN pg_attribute ON attrelid = id, aclexplode(attacl) a
)
SELECT id::regclass::text AS view, ARRAY[
    format('CREATE VIEW %%s %%s AS %%s', id::regclass,
           'WITH (' || array_to_string(reloptions, ', ') || ')', pg_get_viewdef(id)),
    format('ALTER VIEW %%s OWNER TO %%s', id::regclass, relowner::regrole)
] || coalesce((SELECT array_agg(format('COMMENT ON VIEW %%s IS %%L', id::regclass, description)) FROM pg_description
               WHERE objoid = views.id AND classoid = 'pg_class'::regclass AND objsubid = 0), '{}')
  || coalesce((SELECT array_agg(format('GRANT %%s %%s ON %%s TO %%s%%s', privilege_type, part, views.id::regclass,
                                       CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                                       CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END))
               FROM rights WHERE rights.id = views.id), '{}') AS again
FROM views JOIN pg_class ON oid = id ORDER BY depth

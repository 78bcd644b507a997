-- Purpose: the statements that repeat the grants on a relation for whatever has its name then.
-- Parameters: relation.
WITH old AS (SELECT * FROM pg_class WHERE oid = %(relation)s::regclass), rights AS (
    SELECT '' AS part, a.* FROM old, aclexplode(relacl) a
    UNION ALL
    SELECT format('(%%I)', attname), a.* FROM old JOIN pg_attribute t ON attrelid = old.oid, aclexplode(attacl) a
)
SELECT format('GRANT %%s %%s ON %%I TO %%s%%s', privilege_type, part, relname,
              CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM rights, old WHERE grantee <> relowner

-- Purpose: the statements that make the plain views on a relation again, in place: on whatever has its name then.
-- Parameters: relation.
SELECT DISTINCT format('CREATE OR REPLACE VIEW %%s %%s AS %%s', v.oid::regclass,
                       'WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))
FROM pg_depend d
JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(relation)s::regclass
  AND v.oid <> d.refobjid AND v.relkind = 'v'

-- Purpose: what depends on a relation beside plain views, which are kept: materialized views, foreign keys, functions,
-- triggers, policies, row level security, publications. Parts of a hypertable are its own. Parameters: relation.
SELECT DISTINCT CASE WHEN v.relkind = 'm' THEN 'materialized view ' || v.oid::regclass
                     ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END
FROM pg_depend d
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_class v ON v.oid = r.ev_class
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(relation)s::regclass
  AND (d.deptype = 'n' OR d.classid IN ('pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_publication_rel'::regclass))
  AND coalesce(v.oid <> d.refobjid AND v.relkind <> 'v', true)
  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE d.classid = 'pg_trigger'::regclass AND t.oid = d.objid AND t.tgname = 'ts_insert_blocker')
  AND NOT EXISTS (SELECT FROM pg_inherits WHERE d.classid = 'pg_class'::regclass AND inhrelid = d.objid AND inhparent = d.refobjid)
UNION ALL
SELECT 'row level security' FROM pg_class WHERE oid = %(relation)s::regclass AND relrowsecurity
ORDER BY 1

-- Count a request if fewer than the quota count at present: 0, or the seconds until it is worth asking again.
-- Parameters: name, requests, seconds of a slot, slots for which a request counts.
-- Locks: the row, within this statement.
WITH present AS (
    SELECT floor(extract(epoch FROM clock_timestamp()) / %(slot)s)::bigint AS slot
), counted AS (
    INSERT INTO request_quotas AS quota (name, counts)
    SELECT %(name)s, jsonb_build_object(slot, 1) FROM present
    ON CONFLICT (name) DO UPDATE SET counts = (
        SELECT jsonb_build_object(present.slot, 1 + coalesce((quota.counts ->> present.slot::text)::bigint, 0)) || coalesce(
            jsonb_object_agg(key, value) FILTER (WHERE key::bigint > present.slot - %(slots)s AND key::bigint <> present.slot),
            '{}'
        )
        FROM present LEFT JOIN jsonb_each(quota.counts) ON true
        GROUP BY present.slot
    )
    WHERE (
        SELECT coalesce(sum(value::bigint), 0) < %(requests)s
        FROM present, jsonb_each(quota.counts) WHERE key::bigint > present.slot - %(slots)s
    )
    RETURNING 0
)
SELECT 0::float8 FROM counted
UNION ALL
SELECT greatest((min(key::bigint) + %(slots)s) * %(slot)s - extract(epoch FROM clock_timestamp()), %(slot)s / 10)::float8
FROM request_quotas, present, jsonb_each(counts)
WHERE name = %(name)s AND key::bigint > present.slot - %(slots)s AND NOT EXISTS (SELECT FROM counted)
HAVING count(*) > 0

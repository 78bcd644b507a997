-- The next turn of each rate budget, and the requests that count for each quota, by the slot of its period.
-- Parameters: none. Locks: none on tables that exist. Sent as one text, which is one transaction: a process that is stopped
-- meanwhile keeps no other waiting for the advisory lock. The free space lets updates stay in their page.
SELECT pg_advisory_xact_lock(hashtext('request_budgets'));
CREATE TABLE IF NOT EXISTS request_budgets (
    name text PRIMARY KEY,
    turn timestamptz NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE TABLE IF NOT EXISTS request_quotas (
    name text PRIMARY KEY,
    counts jsonb NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

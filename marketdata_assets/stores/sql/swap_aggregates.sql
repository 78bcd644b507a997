-- Purpose: what depends on a continuous aggregate and would be dropped with it: continuous aggregates over it, and policies other
-- than those that refresh it. Parameters: relation.
WITH base AS (
    SELECT materialization_hypertable_schema AS schema, materialization_hypertable_name AS name
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = current_schema() AND view_name = %(relation)s
)
SELECT 'continuous aggregate ' || c.view_name
FROM timescaledb_information.continuous_aggregates c JOIN base ON (c.hypertable_schema, c.hypertable_name) = (base.schema, base.name)
UNION ALL
SELECT format('%%s (job %%s)', proc_name, job_id)
FROM timescaledb_information.jobs j JOIN base
  ON (j.hypertable_schema, j.hypertable_name) IN ((base.schema, base.name), (current_schema(), %(relation)s))
WHERE proc_name <> 'policy_refresh_continuous_aggregate'
ORDER BY 1

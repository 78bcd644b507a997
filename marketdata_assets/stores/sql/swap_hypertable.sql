-- Purpose: what TimescaleDB keeps of a hypertable and a new one would not have: continuous aggregates over it, and its jobs.
-- Parameters: relation.
SELECT 'continuous aggregate ' || view_name FROM timescaledb_information.continuous_aggregates
WHERE (hypertable_schema, hypertable_name) = (current_schema(), %(relation)s)
UNION ALL
SELECT format('%%s (job %%s)', proc_name, job_id) FROM timescaledb_information.jobs
WHERE (hypertable_schema, hypertable_name) = (current_schema(), %(relation)s)
ORDER BY 1

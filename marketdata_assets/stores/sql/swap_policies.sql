-- Purpose: the statements that add the refresh policies of a continuous aggregate to whatever has its name then.
-- Parameters: relation.
SELECT format('SELECT alter_job(add_continuous_aggregate_policy(%%L, %%L::interval, %%L::interval, %%L::interval), scheduled => %%L)',
              hypertable_name, config->>'start_offset', config->>'end_offset', schedule_interval, scheduled)
FROM timescaledb_information.jobs
WHERE hypertable_schema = current_schema() AND hypertable_name = %(relation)s
  AND proc_name = 'policy_refresh_continuous_aggregate'

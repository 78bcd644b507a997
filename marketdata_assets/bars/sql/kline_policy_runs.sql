-- Purpose: whether the refresh policy of the K-line is running, seen by the name of its connection.
SELECT EXISTS (
    SELECT FROM pg_stat_activity a JOIN timescaledb_information.jobs j ON a.application_name = j.application_name
    WHERE a.datname = current_database() AND j.proc_name = 'policy_refresh_continuous_aggregate'
      AND j.hypertable_schema = current_schema() AND j.hypertable_name = 'stock_monthly_kline')

-- Purpose: continuous aggregates over a continuous aggregate, which would be dropped with it. Parameters: relation.
SELECT 'continuous aggregate ' || c.view_name
FROM timescaledb_information.continuous_aggregates c
JOIN timescaledb_information.continuous_aggregates base
  ON (c.hypertable_schema, c.hypertable_name)
   = (base.materialization_hypertable_schema, base.materialization_hypertable_name)
WHERE base.view_schema = current_schema() AND base.view_name = %(relation)s
ORDER BY 1

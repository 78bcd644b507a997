-- Purpose: the monthly K-line as a continuous aggregate; the last known name of the month wins.
-- Locks: run inside a transaction that holds the schema's advisory lock; two creators at once fail without it.
CREATE MATERIALIZED VIEW stock_monthly_kline
WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
SELECT time_bucket(INTERVAL '1 month', time) AS month, code,
       last(name, time) FILTER (WHERE name IS NOT NULL) AS name,
       first(open, time) AS open, max(high) AS high, min(low) AS low, last(close, time) AS close,
       sum(volume) AS volume, sum(amount) AS amount
FROM stock_1min_qfq
WHERE {clean}
GROUP BY month, code
WITH NO DATA

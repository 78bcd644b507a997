-- Purpose: make the empty table of minute bars a hypertable. A chunk is 30 days: PostgreSQL's '1 month' is not calendar.
-- Locks: ACCESS EXCLUSIVE on stock_1min_qfq; run inside a transaction that holds the schema's advisory lock.
SELECT create_hypertable('stock_1min_qfq', by_range('time', INTERVAL '1 month'), create_default_indexes => false);

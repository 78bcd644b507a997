-- Purpose: let loads write compressed batches, which a unique constraint forbids; coverage keeps minutes unique. The index
-- serves rows that are not compressed yet. Needs TimescaleDB 2.24.
-- Locks: ACCESS EXCLUSIVE on stock_1min_qfq; run inside a transaction that holds the schema's advisory lock.
ALTER TABLE stock_1min_qfq DROP CONSTRAINT IF EXISTS stock_1min_qfq_code_time_key;
CREATE INDEX IF NOT EXISTS stock_1min_qfq_code_time ON stock_1min_qfq (code, time);

-- Purpose: let loads write compressed batches, which a unique constraint forbids; coverage keeps minutes unique. Batches
-- are written in the order of the files. The index serves rows that are not compressed yet. Needs TimescaleDB 2.24.
-- Locks: ACCESS EXCLUSIVE on stock_1min_qfq; run inside a transaction that holds the schema's advisory lock.
ALTER TABLE stock_1min_qfq DROP CONSTRAINT stock_1min_qfq_code_time_key;
CREATE INDEX stock_1min_qfq_code_time ON stock_1min_qfq (code, time);
ALTER TABLE stock_1min_qfq SET (timescaledb.compress_orderby = 'time');

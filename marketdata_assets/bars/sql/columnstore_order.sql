-- Purpose: batches in the order of the files, which need not be sorted again; for a table without chunks.
-- Locks: ACCESS EXCLUSIVE on stock_1min_qfq; run inside a transaction that holds the schema's advisory lock.
ALTER TABLE stock_1min_qfq SET (timescaledb.compress_orderby = 'time')

-- Purpose: compress chunks a week after their month; needs the community licence.
-- Locks: ACCESS EXCLUSIVE on stock_1min_qfq; run inside a transaction that holds the schema's advisory lock.
ALTER TABLE stock_1min_qfq SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'code', timescaledb.compress_orderby = 'time DESC');
SELECT add_compression_policy('stock_1min_qfq', INTERVAL '37 days', if_not_exists => true);

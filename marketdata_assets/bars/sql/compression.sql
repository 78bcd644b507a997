-- Purpose: let chunks be compressed by code; needs the community licence.
-- Locks: ACCESS EXCLUSIVE on stock_1min_qfq; run inside a transaction that holds the schema's advisory lock.
ALTER TABLE stock_1min_qfq SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'code', timescaledb.compress_orderby = 'time DESC');

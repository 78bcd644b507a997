-- Purpose: find a month's minutes without reading the whole table, where no hypertable does that. Files are written one
-- stock after another, so a month is a few pages of each stock, which a block range index distinguishes for next to nothing.
-- Locks: SHARE on stock_1min_qfq when it is made; run inside a transaction that holds the schema's advisory lock.
CREATE INDEX IF NOT EXISTS stock_1min_qfq_time ON stock_1min_qfq USING brin (time) WITH (pages_per_range = 64);

-- Purpose: holes in streams; of the same hole the healed one stays.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_gaps (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),
    symbol       LowCardinality(String),
    instrument   LowCardinality(String),  -- the venue's own name
    stream       LowCardinality(String),  -- as the venue calls it
    last_id      Nullable(Int64) CODEC(ZSTD(1)),  -- what came last before it
    next_id      Nullable(Int64) CODEC(ZSTD(1)),  -- what came next
    ts_from      Int64 CODEC(Delta, ZSTD(1)),  -- ns, receive time of the last good message
    ts_to        Int64 CODEC(Delta, ZSTD(1)),  -- ns, receive time of the message that showed the hole
    cause        LowCardinality(String),
    healed_at    Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns
    -- ts_from
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ts_from, 'UTC') CODEC(Delta, ZSTD(1)),
    version      UInt64 MATERIALIZED toUInt64(ifNull(healed_at, 0)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, stream, ts_to, cause, ifNull(last_id, -1), ifNull(next_id, -1))
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

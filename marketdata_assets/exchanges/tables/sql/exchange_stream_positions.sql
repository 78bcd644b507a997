-- Purpose: how far a stream is loaded into the tables; the newest row of a key is valid. A row without an instrument is
--     about the whole type: every message of it up to `sequence` is loaded, or in a gap on record.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_stream_positions (
    stream       LowCardinality(String),
    created      Int64,  -- ns, when the stream was created; a stream of the same name may be created again
    type         LowCardinality(String),  -- of the records
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),
    symbol       LowCardinality(String),
    instrument   LowCardinality(String),  -- the venue's own name
    sequence     UInt64 CODEC(ZSTD(1)),  -- in the stream
    ts           Int64 CODEC(ZSTD(1)),  -- ns, receive time of that message; of a whole type, when it was stored
    version      UInt64 MATERIALIZED toUInt64(toUnixTimestamp64Nano(now64(9))) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
ORDER BY (stream, type, exchange, market_type, instrument)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1

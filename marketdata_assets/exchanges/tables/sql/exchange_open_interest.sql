-- Purpose: how much is open. A copy that differs in nothing but ts_recv is the same row.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_open_interest (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),  -- spot, linear, inverse, option
    symbol       LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument   LowCardinality(String),  -- the venue's own name
    ts_event     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, the venue's clock; null where the message has no time
    ts_recv      Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    contracts    Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    size         Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    value        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- quote units
    value_usd    Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- as the venue states it
    -- ts_event, or ts_recv where there is none
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    content      UInt64 MATERIALIZED xxh3(toString((contracts, size, value, value_usd))) CODEC(ZSTD(1)),
    -- what was received first stays
    version      UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

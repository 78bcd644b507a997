-- Purpose: states of instruments by the venues' lists, when first seen and when changed.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_instrument_states (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),  -- spot, linear, inverse, option
    symbol       LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument   LowCardinality(String),  -- the venue's own name
    ts_event     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- null: lists have no time
    ts_recv      Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    state        LowCardinality(String),  -- prelaunch, trading, suspended, settling, delisted, unknown
    venue_state  LowCardinality(String),  -- the venue's own word
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    -- what was received first stays
    version      UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, state, venue_state)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

-- Purpose: order books and what changed in them. A copy that differs in nothing but ts_recv is the same row.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_orderbooks (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),  -- spot, linear, inverse, option
    symbol       LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument   LowCardinality(String),  -- the venue's own name
    ts_event     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, the venue's clock; null where the message has no time
    ts_recv      Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    kind         LowCardinality(String),  -- snapshot, delta
    -- best first in a snapshot, as published in a delta; size 0 takes a level away
    bids         Array(Tuple(price Decimal(38, 18), size Decimal(38, 18))) CODEC(ZSTD(1)),
    asks         Array(Tuple(price Decimal(38, 18), size Decimal(38, 18))) CODEC(ZSTD(1)),
    unit         LowCardinality(String),  -- of sizes: base, contracts, quote
    first_id     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- first update that is in it
    last_id      Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- last update that is in it
    prev_id      Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- the update it follows
    -- ts_event, or ts_recv where there is none
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    -- two copies of a message without a time, but with an id, have the same
    key_time     Int64 MATERIALIZED ifNull(ts_event, if(isNull(last_id), ts_recv, intDiv(ts_recv,
        86400000000000) * 86400000000000)) CODEC(Delta, ZSTD(1)),
    content      UInt64 MATERIALIZED xxh3(bids, asks, ifNull(first_id, -1), ifNull(prev_id, -1)) CODEC(ZSTD(1)),
    -- what was received first stays
    version      UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1)),
    INDEX time_span time TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, key_time, ifNull(last_id, -1), kind, content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

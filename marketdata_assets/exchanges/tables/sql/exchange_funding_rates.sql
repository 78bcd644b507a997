-- Purpose: rates of perpetuals. A copy that differs in nothing but ts_recv is the same row.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_funding_rates (
    exchange        LowCardinality(String),
    market_type     LowCardinality(String),  -- spot, linear, inverse, option
    symbol          LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument      LowCardinality(String),  -- the venue's own name
    -- ns, the venue's clock; null where the message has no time
    ts_event        Nullable(Int64) CODEC(Delta, ZSTD(1)),
    ts_recv         Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    rate            Decimal(38, 18) CODEC(ZSTD(1)),
    funding_time    Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, when the rate is paid, or was
    predicted_rate  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- of the period after
    interval_hours  Nullable(Int64) CODEC(ZSTD(1)),
    mark_price      Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    index_price     Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    premium         Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- premium index; 1 is 100 percent
    -- ts_event, or ts_recv where there is none
    time            DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    content         UInt64 MATERIALIZED xxh3(toString((rate, funding_time, predicted_rate, interval_hours,
        mark_price, index_price, premium))) CODEC(ZSTD(1)),
    -- what was received first stays
    version         UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

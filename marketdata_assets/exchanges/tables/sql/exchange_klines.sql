-- Purpose: candles; of one candle the newest state stays, and a closed one before any open one.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_klines (
    exchange                LowCardinality(String),
    market_type             LowCardinality(String),  -- spot, linear, inverse, option
    symbol                  LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument              LowCardinality(String),  -- the venue's own name
    -- ns, the venue's clock; null where the message has no time
    ts_event                Nullable(Int64) CODEC(Delta, ZSTD(1)),
    ts_recv                 Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    interval                LowCardinality(String),  -- 1m, 1h, 1d; 1M is a month
    open_time               Int64 CODEC(Delta, ZSTD(1)),  -- ns
    close_time              Int64 CODEC(Delta, ZSTD(1)),  -- ns, the first moment that is no longer in it
    open                    Decimal(38, 18) CODEC(ZSTD(1)),
    high                    Decimal(38, 18) CODEC(ZSTD(1)),
    low                     Decimal(38, 18) CODEC(ZSTD(1)),
    close                   Decimal(38, 18) CODEC(ZSTD(1)),
    volume                  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    contracts               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    quote_volume            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    trades                  Nullable(Int64) CODEC(ZSTD(1)),
    taker_buy_volume        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    taker_buy_quote_volume  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    closed                  Nullable(Bool),  -- null where the venue does not say
    -- open_time
    time                    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(open_time, 'UTC') CODEC(Delta,
        ZSTD(1)),
    -- a closed one, the newest one, what was received first
    version                 UInt128 MATERIALIZED bitOr(bitShiftLeft(toUInt128(ifNull(closed, false)), 127),
        bitOr(bitShiftLeft(toUInt128(ifNull(ts_event, ts_recv)), 64),
        toUInt128(bitNot(reinterpretAsUInt64(ts_recv))))) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, interval, time)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

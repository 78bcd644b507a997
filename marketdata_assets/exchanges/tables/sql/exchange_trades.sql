-- Purpose: trades, as published. Of the same trade the copy that says the most stays, of such the one received first.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_trades (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),  -- spot, linear, inverse, option
    symbol       LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument   LowCardinality(String),  -- the venue's own name
    ts_event     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, the venue's clock; null where the message has no time
    ts_recv      Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    trade_id     String CODEC(ZSTD(1)),
    price        Decimal(38, 18) CODEC(ZSTD(1)),
    size         Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units; null when only contracts are known
    contracts    Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    side         LowCardinality(String),  -- of the taker
    -- of trades that the venue aggregated: the first and the last
    first_id     Nullable(String) CODEC(ZSTD(1)),
    last_id      Nullable(String) CODEC(ZSTD(1)),
    sequence     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- number among the trades of the instrument
    flags        Array(LowCardinality(String)) CODEC(ZSTD(1)),  -- block, rpi, combo, liquidation
    -- ts_event, or ts_recv where there is none
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    aggregated   Bool MATERIALIZED isNotNull(first_id),  -- such trades have numbers of their own
    -- recordings of others lack a size in base units, a sequence or flags that ours have
    version      UInt64 MATERIALIZED bitOr(
        bitShiftLeft(toUInt64(isNotNull(size) + isNotNull(sequence) + notEmpty(flags)), 62),
        bitShiftRight(bitNot(reinterpretAsUInt64(ts_recv)), 2)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, time, trade_id, aggregated)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

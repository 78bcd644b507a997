-- Purpose: bars of a minute, computed from exchange_trades; whole days are replaced.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_ohlcv_1m (
    exchange                LowCardinality(String),
    market_type             LowCardinality(String),
    symbol                  LowCardinality(String),
    instrument              LowCardinality(String),
    time                    DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),  -- start of the minute
    open                    Decimal(38, 18) CODEC(ZSTD(1)),
    high                    Decimal(38, 18) CODEC(ZSTD(1)),
    low                     Decimal(38, 18) CODEC(ZSTD(1)),
    close                   Decimal(38, 18) CODEC(ZSTD(1)),
    volume                  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    contracts               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    quote_volume            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    taker_buy_volume        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    taker_buy_quote_volume  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    trades                  UInt64 CODEC(ZSTD(1)),
    open_gaps               UInt32 CODEC(ZSTD(1))  -- gaps of trades that are not healed and touch the minute
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, time)

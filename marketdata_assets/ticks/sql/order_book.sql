-- Purpose: snapshots of order books, only such as were delivered. Best price first; a side may be empty. Locks: none.
CREATE TABLE IF NOT EXISTS order_book (
    symbol     LowCardinality(String),
    date       Date CODEC(ZSTD(1)),                            -- day of the exchange
    ts         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    provider   LowCardinality(String),
    bid_price  Array(Float64) CODEC(ZSTD(1)),
    bid_size   Array(Float64) CODEC(ZSTD(1)),                  -- shares
    ask_price  Array(Float64) CODEC(ZSTD(1)),
    ask_size   Array(Float64) CODEC(ZSTD(1)),
    file       LowCardinality(String),                         -- its name below the folder of order books
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT provider_named CHECK provider != '',
    CONSTRAINT sides_even CHECK length(bid_price) = length(bid_size) AND length(ask_price) = length(ask_size),
    CONSTRAINT levels CHECK length(bid_price) + length(ask_price) > 0
        AND length(bid_price) <= 10 AND length(ask_price) <= 10
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, ts);

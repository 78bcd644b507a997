-- Purpose: one number a day and stock, computed here from bars or sent by a provider. Locks: none.
CREATE TABLE IF NOT EXISTS factors (
    symbol    LowCardinality(String),
    date      Date CODEC(ZSTD(1)),                             -- day of the exchange
    factor    LowCardinality(String),
    value     Float64 CODEC(ZSTD(1)),
    provider  LowCardinality(String),                          -- tick_data: computed from it
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT factor_named CHECK factor != '',
    CONSTRAINT provider_named CHECK provider != '',
    CONSTRAINT value_finite CHECK isFinite(value)
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date, factor);

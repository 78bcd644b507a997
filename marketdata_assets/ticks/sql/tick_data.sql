-- Purpose: what providers deliver as minute bars, as they deliver it; a null was not sent. Locks: none.
CREATE TABLE IF NOT EXISTS tick_data (
    symbol    LowCardinality(String),                          -- 600000.SH
    date      Date CODEC(ZSTD(1)),                             -- day of the exchange
    ts        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),      -- as the provider labels the bar
    label     LowCardinality(String),                          -- the end of its minute that ts is: start or end
    interval  LowCardinality(String),
    open      Nullable(Float64) CODEC(ZSTD(1)),
    high      Nullable(Float64) CODEC(ZSTD(1)),
    low       Nullable(Float64) CODEC(ZSTD(1)),
    close     Nullable(Float64) CODEC(ZSTD(1)),
    volume    Nullable(Float64) CODEC(ZSTD(1)),                -- shares, which are whole; or units of a currency
    turnover  Nullable(Float64) CODEC(ZSTD(1)),                -- in currency
    currency  LowCardinality(Nullable(String)),
    flags     UInt8 CODEC(ZSTD(1)),                            -- why the bar deserves a second look, see FLAGS
    provider  LowCardinality(String),
    file      LowCardinality(String),                          -- of a dropped file its name below the folder, else empty
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT provider_named CHECK provider != '',
    CONSTRAINT label_known CHECK label IN ('start', 'end'),
    CONSTRAINT interval_known CHECK interval IN ('1m')
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, ts);

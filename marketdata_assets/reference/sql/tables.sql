-- Purpose: reference data of A-shares, each row with who says so and when that was first seen. Locks: none.
-- Statements are separated by a semicolon at the end of a line.

-- Days of which a provider or a file says whether the exchanges are open.
CREATE TABLE IF NOT EXISTS trading_calendar (
    date    Date,
    open    Bool,
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC')
) ENGINE = MergeTree ORDER BY date;

-- Every stock of the three exchanges, those that are delisted too.
CREATE TABLE IF NOT EXISTS instruments (
    symbol    String,                                          -- 600000.SH
    name      String,
    listed    Nullable(Date),
    delisted  Nullable(Date),
    status    LowCardinality(String),
    board     LowCardinality(String),
    lot       UInt32,                                          -- the least number of shares of an order
    source    LowCardinality(String),
    seen      DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT status_known CHECK status IN ('listed', 'delisted', 'paused', 'vanished')
) ENGINE = MergeTree ORDER BY symbol;

-- The names that a stock had; `last` is null for the present one.
CREATE TABLE IF NOT EXISTS name_history (
    symbol  String,
    name    String,
    first   Date,
    last    Nullable(Date),
    reason  String,
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != ''
) ENGINE = MergeTree ORDER BY (symbol, first);

-- A stock whose code changed: from `date` on it is `new`.
CREATE TABLE IF NOT EXISTS code_changes (
    old     String,
    new     String,
    date    Date,
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC'),
    CONSTRAINT codes_named CHECK old != '' AND new != '' AND old != new
) ENGINE = MergeTree ORDER BY (old, date);

-- Stocks that do not trade on a trading day. Which days are answered is in the ledger.
CREATE TABLE IF NOT EXISTS suspensions (
    symbol  LowCardinality(String),
    date    Date,
    timing  String,                                            -- '': the whole day; else 09:30-10:00
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != ''
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date, timing);

-- Cumulative factors: back-adjusted = price * factor; forward-adjusted as of a day = price * factor / factor of that day.
CREATE TABLE IF NOT EXISTS adjust_factors (
    symbol      LowCardinality(String),
    date        Date CODEC(ZSTD(1)),
    adj_factor  Float64 CODEC(ZSTD(1)),
    source      LowCardinality(String),
    seen        DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT factor_positive CHECK adj_factor > 0 AND isFinite(adj_factor)
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date);

-- The highest and the lowest price that the exchange accepts on a day, in yuan.
CREATE TABLE IF NOT EXISTS price_limits (
    symbol  LowCardinality(String),
    date    Date CODEC(ZSTD(1)),
    up      Float64 CODEC(ZSTD(1)),
    down    Float64 CODEC(ZSTD(1)),
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    CONSTRAINT symbol_named CHECK symbol != ''
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date);

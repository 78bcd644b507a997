-- Purpose: what two sources say differently of a stock's day; a value is NULL where a source has nothing of the day.
-- Locks: none beyond creation; run inside a transaction that holds the schema's advisory lock.
CREATE TABLE IF NOT EXISTS reconciliation (
    date         date             NOT NULL,
    symbol       text             NOT NULL,                -- 600000.SH
    field        text             NOT NULL,                -- open, high, low, close, volume, turnover
    source       text             NOT NULL,                -- stock_1min_qfq, tick_data or stock_daily
    value        double precision,                         -- yuan as traded, shares, or yuan
    other_source text             NOT NULL,
    other_value  double precision,
    tolerance    double precision NOT NULL,                -- the difference that units and rounding explain
    PRIMARY KEY (date, symbol, field, source, other_source)
);

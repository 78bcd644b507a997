-- Purpose: the minute bars and what each file provides of them, on any PostgreSQL.
-- Locks: none beyond creation; run inside a transaction that holds the schema's advisory lock.

CREATE TABLE IF NOT EXISTS stock_1min_qfq (
    time       timestamp NOT NULL CHECK (isfinite(time)),  -- exchange wall clock, Asia/Shanghai
    code       text      NOT NULL,                         -- 600000.SH
    name       text,
    open       numeric(16,4),                              -- yuan, adjusted forward: negative is legal
    high       numeric(16,4),
    low        numeric(16,4),
    close      numeric(16,4),
    volume     bigint,                                     -- lots of 100 shares
    amount     numeric(20,4),                              -- yuan
    change_pct numeric(10,4),
    amplitude  numeric(10,4),
    UNIQUE (code, time)
);

-- Which minutes of which code each unit provides; the newest file wins where two overlap.
CREATE TABLE IF NOT EXISTS stock_1min_coverage (
    source     text      NOT NULL,
    unit       text      NOT NULL,
    code       text      NOT NULL,
    month      date      NOT NULL,
    first      timestamp NOT NULL,                         -- first and last minute, both included
    last       timestamp NOT NULL,
    rows       bigint    NOT NULL,                         -- rows that passed the rules
    superseded bigint    NOT NULL DEFAULT 0,               -- of them, rows that newer files provide
    delivered  bigint    NOT NULL,                         -- the file's modification time, ns since 1970
    PRIMARY KEY (source, unit, code, month)
);
CREATE INDEX IF NOT EXISTS stock_1min_coverage_code ON stock_1min_coverage (code, month);
CREATE INDEX IF NOT EXISTS stock_1min_coverage_month ON stock_1min_coverage (month);

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

-- Which minutes of which code each unit provides; a newer file replaces the minutes that it has, and no others.
CREATE TABLE IF NOT EXISTS stock_1min_coverage (
    source     text      NOT NULL,
    unit       text      NOT NULL,
    code       text      NOT NULL,
    month      date      NOT NULL,
    first      timestamp NOT NULL,                         -- first and last minute, both included
    last       timestamp NOT NULL,
    rows       bigint    NOT NULL,                         -- rows that passed the rules
    superseded bigint    NOT NULL DEFAULT 0,               -- of them, rows not in the table: newer files have them
    delivered  bigint    NOT NULL,                         -- the file's modification time, ns since 1970
    minutes    bytea,                                      -- which; NULL: alone in the month, so those of the table
    PRIMARY KEY (source, unit, code, month)
);
CREATE INDEX IF NOT EXISTS stock_1min_coverage_code ON stock_1min_coverage (code, month);
CREATE INDEX IF NOT EXISTS stock_1min_coverage_month ON stock_1min_coverage (month);

-- How many minutes from 09:30 to 15:00 the table has on each day of a code's month; for every code and month of coverage.
CREATE TABLE IF NOT EXISTS stock_1min_days (
    code       text       NOT NULL,
    month      date       NOT NULL,
    bars       smallint[] NOT NULL,                        -- bars[1] on the first of the month, to bars[31]
    PRIMARY KEY (code, month)
);
CREATE INDEX IF NOT EXISTS stock_1min_days_month ON stock_1min_days (month);

-- Seams between two files at which the prices of a code change their base, as the check one_price_basis last found them.
CREATE TABLE IF NOT EXISTS stock_1min_bases (
    code          text             NOT NULL,
    before        timestamp        NOT NULL,               -- the last bar of the one file
    after         timestamp        NOT NULL,               -- the first bar of the other
    source_before text             NOT NULL,
    source_after  text             NOT NULL,
    close         double precision NOT NULL,               -- of the last bar
    open          double precision NOT NULL,               -- of the first bar
    reason        text             NOT NULL,
    PRIMARY KEY (code, before)
);

-- Codes and months changed since their K-line was refreshed, written with the rows; no key, so that loads and refreshes
-- never wait for each other.
CREATE TABLE IF NOT EXISTS stock_1min_changes (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month  date NOT NULL,
    code   text NOT NULL,
    run_id text NOT NULL
);
CREATE INDEX IF NOT EXISTS stock_1min_changes_month ON stock_1min_changes (month);

-- Purpose: the tables of an earlier version, as its schema files created them.

CREATE TABLE IF NOT EXISTS marketdata_ledger (
    dataset        text        NOT NULL,             -- the table the unit is loaded into
    source         text        NOT NULL,             -- file, relative to its folder
    unit           text        NOT NULL,             -- member of the file, or the file itself
    content_hash   text,                             -- bytes that are loaded now; NULL: none are
    previous_hash  text,                             -- bytes that were loaded before them
    slices         text[]      NOT NULL DEFAULT '{}',-- partitions of the unit that are loaded
    read           bigint      NOT NULL DEFAULT 0,   -- rows of the unit, all slices, rejected ones included
    skipped        bigint      NOT NULL DEFAULT 0,   -- rows of slices that were not requested
    rows           bigint      NOT NULL DEFAULT 0,   -- rows of those slices that are loaded
    rejected       bigint      NOT NULL DEFAULT 0,   -- rows of the unit in quarantine
    outcome        text        NOT NULL CHECK (outcome IN ('ok', 'empty', 'failed', 'removed')),
    attempted_hash text,                             -- bytes of the last attempt
    error          text,
    code_version   text        NOT NULL,
    run_id         text        NOT NULL,
    started        timestamptz NOT NULL,
    finished       timestamptz NOT NULL,
    PRIMARY KEY (dataset, source, unit)
);

CREATE TABLE IF NOT EXISTS marketdata_ledger_log (
    LIKE marketdata_ledger,
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);
CREATE INDEX IF NOT EXISTS marketdata_ledger_log_unit ON marketdata_ledger_log (dataset, source, unit, id);

CREATE TABLE IF NOT EXISTS marketdata_quarantine (
    dataset  text   NOT NULL,
    source   text   NOT NULL,
    unit     text   NOT NULL,
    line     bigint NOT NULL,                        -- 1 is the header
    slice    text,                                   -- partition the row would be in; NULL: not known
    reason   text   NOT NULL,
    raw      text   NOT NULL,
    PRIMARY KEY (dataset, source, unit, line)
);
CREATE INDEX IF NOT EXISTS marketdata_quarantine_slice ON marketdata_quarantine (dataset, slice);

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
CREATE TABLE stock_1min_changes (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month  date NOT NULL,
    code   text NOT NULL,
    run_id text NOT NULL
);
CREATE INDEX stock_1min_changes_month ON stock_1min_changes (month);
INSERT INTO stock_1min_changes (month, code, run_id)
SELECT DISTINCT month, code, '' FROM stock_1min_coverage;
CREATE INDEX IF NOT EXISTS stock_1min_qfq_time ON stock_1min_qfq USING brin (time) WITH (pages_per_range = 64);
CREATE TABLE IF NOT EXISTS marketdata_flow_units (
    id           integer     GENERATED ALWAYS AS IDENTITY UNIQUE, -- etl_unit of rows in mode replace
    dataset      text        NOT NULL,
    unit         text        NOT NULL,
    size         bigint,                                          -- of the file when content_hash was made
    modified_ns  bigint,
    content_hash text,
    run_id       text,                                            -- the run that has claimed the unit
    claimed_at   timestamptz,
    claim_until  timestamptz,                                     -- after that the claim counts no more
    PRIMARY KEY (dataset, unit)
);

-- Purpose: what has been loaded, from which bytes, with which outcome; and the rows that were rejected.
-- Locks: none beyond creation; run inside a transaction that holds the schema's advisory lock.

-- One row per unit of work: what is loaded now, and how the last attempt ended.
CREATE TABLE IF NOT EXISTS marketdata_ledger (
    dataset        text        NOT NULL,             -- the table the unit is loaded into
    source         text        NOT NULL,             -- file, relative to its folder
    unit           text        NOT NULL,             -- member of the file, or the file itself
    content_hash   text,                             -- bytes that are loaded now; NULL: none are
    previous_hash  text,                             -- bytes that were loaded before them
    slices         text[]      NOT NULL DEFAULT '{}',-- partitions of the unit that are loaded
    read           bigint      NOT NULL DEFAULT 0,   -- rows of the unit, all slices, rejected ones included
    skipped        bigint      NOT NULL DEFAULT 0,   -- rows of slices that were not requested
    rows           bigint      NOT NULL DEFAULT 0,   -- rows of those slices that are in the table
    rejected       bigint      NOT NULL DEFAULT 0,   -- rows of the unit in quarantine
    superseded     bigint      NOT NULL DEFAULT 0,   -- rows of those slices that newer files have replaced
    outcome        text        NOT NULL CHECK (outcome IN ('ok', 'empty', 'failed', 'removed', 'forgotten')),
    attempted_hash text,                             -- bytes of the last attempt
    error          text,
    code_version   text        NOT NULL,
    run_id         text        NOT NULL,
    started        timestamptz NOT NULL,
    finished       timestamptz NOT NULL,
    PRIMARY KEY (dataset, source, unit)
);
CREATE INDEX IF NOT EXISTS marketdata_ledger_content ON marketdata_ledger (dataset, content_hash);

-- Every attempt, never changed.
CREATE TABLE IF NOT EXISTS marketdata_ledger_log (
    LIKE marketdata_ledger,
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);
CREATE INDEX IF NOT EXISTS marketdata_ledger_log_unit ON marketdata_ledger_log (dataset, source, unit, id);

-- Rejected rows as they were read, until the unit is loaded again.
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

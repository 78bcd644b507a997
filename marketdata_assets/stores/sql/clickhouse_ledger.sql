-- Purpose: what has been loaded, from which bytes, with which outcome, and the rows that were refused.
-- Locks: none. Statements are separated by a semicolon at the end of a line.

-- Two aspects of a unit, each with versions of its own; the newest version of an aspect is the truth. Read the view.
CREATE TABLE IF NOT EXISTS marketdata_ledger_rows (
    dataset         LowCardinality(String),            -- the table the unit lands in
    unit            LowCardinality(String),
    source          LowCardinality(String),
    aspect          LowCardinality(String),            -- stands: what is in the data; attempt: how the last one ended
    version         UInt64,                            -- ns of the server's clock; orders publishes as they happened
    content_hash    Nullable(String),                  -- stands; '': in doubt, its writer has not come back
    previous_hash   Nullable(String),                  -- stands: what stood there before
    slices          LowCardinality(String),            -- stands: parts of the unit that are covered, joined by commas
    read            Int64,                             -- stands, as the next three
    skipped         Int64,
    rows            Int64,
    rejected        Int64,
    origin          LowCardinality(String),            -- stands: whom it came from
    outcome         LowCardinality(String),            -- attempt, as the next six
    attempted_hash  Nullable(String),
    error           Nullable(String) CODEC(ZSTD(1)),
    code_version    LowCardinality(String),
    run_id          LowCardinality(String),
    started         DateTime64(6, 'UTC'),
    finished        DateTime64(6, 'UTC'),
    reject_line     Array(Int64),                      -- both: the refused rows of what stands, or of a failed attempt
    reject_reason   Array(String) CODEC(ZSTD(1)),
    reject_raw      Array(String) CODEC(ZSTD(3)),
    reject_slice    Array(String) CODEC(ZSTD(1)),      -- '': not known
    CONSTRAINT aspect_known CHECK aspect IN ('stands', 'attempt'),
    CONSTRAINT outcome_known CHECK aspect = 'stands' OR outcome IN ('ok', 'empty', 'unsupported', 'failed', 'removed')
) ENGINE = ReplacingMergeTree(version) ORDER BY (dataset, unit, source, aspect) SETTINGS index_granularity = 1024;

-- Every attempt, never changed.
CREATE TABLE IF NOT EXISTS marketdata_ledger_log (
    dataset         LowCardinality(String),
    unit            LowCardinality(String),
    source          LowCardinality(String),
    version         UInt64,
    outcome         LowCardinality(String),
    attempted_hash  Nullable(String),
    error           Nullable(String) CODEC(ZSTD(1)),
    rows            Int64,
    rejected        Int64,
    origin          LowCardinality(String),
    code_version    LowCardinality(String),
    run_id          LowCardinality(String),
    started         DateTime64(6, 'UTC'),
    finished        DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY (dataset, unit, source, version);

CREATE MATERIALIZED VIEW IF NOT EXISTS marketdata_ledger_attempts TO marketdata_ledger_log AS
SELECT
    dataset, unit, source, version, outcome, attempted_hash, error, rows, rejected, origin, code_version, run_id,
    started, finished
FROM marketdata_ledger_rows
WHERE aspect = 'attempt';

-- One row for each unit: the truth, without FINAL. `version` is that of what stands; 0 when nothing has ever stood.
CREATE OR REPLACE VIEW marketdata_ledger AS
SELECT
    dataset, source, unit,
    stands.1 AS content_hash,
    stands.2 AS previous_hash,
    stands.3 AS slices,
    stands.4 AS read,
    stands.5 AS skipped,
    stands.6 AS rows,
    stands.7 AS rejected,
    stands.8 AS origin,
    attempt.1 AS outcome,
    attempt.2 AS attempted_hash,
    attempt.3 AS error,
    attempt.4 AS code_version,
    attempt.5 AS run_id,
    attempt.6 AS started,
    attempt.7 AS finished,
    stands_version AS version
FROM (
    SELECT
        dataset, source, unit,
        argMaxIf((content_hash, previous_hash, slices, read, skipped, rows, rejected, origin), version, aspect = 'stands')
            AS stands,
        argMaxIf(
            (outcome, attempted_hash, error, code_version, run_id, started, finished),
            version,
            aspect = 'attempt' OR ifNull(content_hash = '', false)  -- a doubt is an attempt that has not ended
        ) AS attempt,
        maxIf(version, aspect = 'stands') AS stands_version
    FROM marketdata_ledger_rows
    GROUP BY dataset, source, unit
);

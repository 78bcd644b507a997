-- Purpose: what has been loaded, from which bytes, with which outcome, and the rejected rows.
-- Locks: none. Statements are separated by a semicolon at the end of a line.

-- Two aspects of a unit, each with its own versions, of which the newest is valid. Read the view.
CREATE TABLE IF NOT EXISTS marketdata_ledger_rows (
    dataset         LowCardinality(String),            -- the table the unit is loaded into
    unit            LowCardinality(String),
    source          LowCardinality(String),
    aspect          LowCardinality(String),            -- 'committed': committed content; 'attempt': the last load
    version         UInt64,                            -- ns of the server's clock; orders publishes as they happened
    content_hash    Nullable(String),                  -- content; '' while a publish is pending
    previous_hash   Nullable(String),                  -- content: the hash before
    slices          LowCardinality(String),            -- content: covered parts of the unit, joined by commas
    read            Int64,                             -- content, as the next three
    skipped         Int64,
    rows            Int64,
    rejected        Int64,
    origin          LowCardinality(String),            -- content: the provider
    outcome         LowCardinality(String),            -- attempt, as the next six
    attempted_hash  Nullable(String),
    error           Nullable(String) CODEC(ZSTD(1)),
    code_version    LowCardinality(String),
    run_id          LowCardinality(String),
    started         DateTime64(6, 'UTC'),
    finished        DateTime64(6, 'UTC'),
    reject_line     Array(Int64),                      -- both: rejected rows of the content, or of a failed attempt
    reject_reason   Array(String) CODEC(ZSTD(1)),
    reject_raw      Array(String) CODEC(ZSTD(3)),
    reject_slice    Array(String) CODEC(ZSTD(1)),      -- '': not known
    slice_states    String DEFAULT '' CODEC(ZSTD(1)),  -- content: slices that are not final, as JSON; see SliceState
    CONSTRAINT aspect_known CHECK aspect IN ('committed', 'attempt'),
    CONSTRAINT outcome_known CHECK aspect = 'committed' OR outcome IN ('ok', 'empty', 'unsupported', 'failed', 'removed')
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

-- One row for each unit, without FINAL. `version` is that of the committed content; 0 when there never was any.
CREATE OR REPLACE VIEW marketdata_ledger AS
SELECT
    dataset, source, unit,
    committed.1 AS content_hash,
    committed.2 AS previous_hash,
    committed.3 AS slices,
    committed.4 AS read,
    committed.5 AS skipped,
    committed.6 AS rows,
    committed.7 AS rejected,
    committed.8 AS origin,
    committed.9 AS slice_states,
    attempt.1 AS outcome,
    attempt.2 AS attempted_hash,
    attempt.3 AS error,
    attempt.4 AS code_version,
    attempt.5 AS run_id,
    attempt.6 AS started,
    attempt.7 AS finished,
    committed_version AS version
FROM (
    SELECT
        dataset, source, unit,
        argMaxIf(
            (content_hash, previous_hash, slices, read, skipped, rows, rejected, origin, slice_states),
            version,
            aspect = 'committed'
        ) AS committed,
        argMaxIf(
            (outcome, attempted_hash, error, code_version, run_id, started, finished),
            version,
            aspect = 'attempt' OR ifNull(content_hash = '', false)  -- a pending publish is an unfinished attempt
        ) AS attempt,
        maxIf(version, aspect = 'committed') AS committed_version
    FROM marketdata_ledger_rows
    GROUP BY dataset, source, unit
);

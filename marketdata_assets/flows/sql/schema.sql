-- Purpose: the units of all flows: numbers for them, what their files were when last read, and who works on them.
-- Locks: none beyond creation; run inside a transaction that holds the schema's advisory lock.
CREATE TABLE IF NOT EXISTS marketdata_flow_units (
    id           integer     GENERATED ALWAYS AS IDENTITY UNIQUE, -- etl_unit of rows in mode replace
    dataset      text        NOT NULL,
    unit         text        NOT NULL,
    size         bigint,                                          -- of the file when content_hash was made
    modified_ns  bigint,                                          -- its last change, of bytes, times or permissions
    content_hash text,
    run_id       text,                                            -- the run that has claimed the unit
    claimed_at   timestamptz,
    claim_until  timestamptz,                                     -- after that the claim counts no more
    PRIMARY KEY (dataset, unit)
);

-- Rows of tables that passed from one file to another, by the numbers of the files; below 1 is none. Mode upsert.
-- A pair of files that have a key in common has a row, if only of 0: rows of `target` supersede those of `source`.
CREATE TABLE IF NOT EXISTS marketdata_flow_moves (
    source     integer NOT NULL,
    target     integer NOT NULL,
    rows       bigint  NOT NULL,
    superseded bigint  NOT NULL DEFAULT 0, -- rows of `source`, as it was loaded last, that `target` supersedes
                                           -- (of a file and itself: rows of earlier contents that it kept then)
    PRIMARY KEY (source, target)
);
-- A sample of first loads has a single source, nobody, and PostgreSQL would scan all moves for each file.
CREATE INDEX IF NOT EXISTS marketdata_flow_moves_target ON marketdata_flow_moves (target); ALTER TABLE marketdata_flow_moves
    ALTER source SET (n_distinct = -0.5), ALTER target SET (n_distinct = -0.5);

-- Columns of files that their flow neither takes nor ignores.
CREATE TABLE IF NOT EXISTS marketdata_flow_new_columns (
    dataset text NOT NULL,
    unit    text NOT NULL,
    name    text NOT NULL,
    PRIMARY KEY (dataset, unit, name)
);

-- Columns that files have added to the table of their flow, by their names there and in the table.
CREATE TABLE IF NOT EXISTS marketdata_flow_added_columns (
    dataset  text        NOT NULL,
    source   text        NOT NULL,
    name     text        NOT NULL,
    unit     text        NOT NULL,                     -- the file that had it first
    run_id   text        NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dataset, source)
);

-- What a store beside Postgres has of a unit, as its last load recorded; without a token, none has ended yet.
CREATE TABLE IF NOT EXISTS marketdata_flow_stored (
    dataset text NOT NULL,
    unit    text NOT NULL,
    token   text,
    PRIMARY KEY (dataset, unit)
);

-- The table of each flow.
CREATE TABLE IF NOT EXISTS marketdata_flow_tables (
    dataset    text PRIMARY KEY,
    table_name text NOT NULL,
    mode       text NOT NULL
);

-- Purpose: each file of a folder as a scan saw it last, and what became of it. Locks: none.
CREATE TABLE IF NOT EXISTS marketdata_files (
    dataset   LowCardinality(String),                          -- what the files are loaded into
    file      String,                                          -- relative to the folder
    size      Int64,
    modified  Int64,                                           -- ns
    changed   Int64,                                           -- ns; its last change, of bytes, times or permissions
    observed  Int64,                                           -- ns of the scanner's clock: first seen in this state
    state     LowCardinality(String),
    units     Int64,                                           -- units that it has rows of
    last      Date,                                            -- last day that it has
    compared  Date,                                            -- before this day, every day of it is loaded
    read      Int64,                                           -- rows of it that the last load has read: duplicates ..
    skipped   Int64,
    rows      Int64,                                           -- .. loaded ones ..
    rejected  Int64,                                           -- .. and rejected ones
    attempts  Int64,                                           -- loads that have ended
    age       Int64,                                           -- modification time (ns) of the content that is loaded
    request   String,                                          -- key of the run that a sensor requested for it
    reader    String,                                          -- the settings with which it was read
    error     String CODEC(ZSTD(1)),
    forgotten String,                                          -- hash of a content that is not loaded again
    version   UInt64,
    CONSTRAINT state_known CHECK state IN ('unfinished', 'waiting', 'loaded', 'failed', 'forgotten', 'removed', 'lost')
) ENGINE = ReplacingMergeTree(version) ORDER BY (dataset, file);

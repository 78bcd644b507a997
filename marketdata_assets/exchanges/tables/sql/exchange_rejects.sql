-- Purpose: records that a table could not take as they were, whole, and why. The same one again is the same row.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_rejects (
    type     LowCardinality(String),                   -- of the record, as in its JSON
    reason   String CODEC(ZSTD(1)),
    raw      String CODEC(ZSTD(3)),
    source   LowCardinality(String),                   -- what brought it: the drain, a file
    seen     DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    content  FixedString(16) MATERIALIZED sipHash128(raw)
) ENGINE = ReplacingMergeTree
ORDER BY (type, content)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1

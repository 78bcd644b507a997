-- Purpose: the registry of symbols; what was seen last of each is the truth. Locks: none.
CREATE TABLE IF NOT EXISTS symbols (
    symbol    String,
    name      String,
    listed    Nullable(Date),
    delisted  Nullable(Date),
    status    LowCardinality(String),
    source    LowCardinality(String),                          -- who said so
    seen      DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT status_known CHECK status IN ('listed', 'delisted', 'paused', 'vanished')
) ENGINE = ReplacingMergeTree(seen) ORDER BY symbol;

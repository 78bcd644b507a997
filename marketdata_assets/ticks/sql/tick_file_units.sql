-- Purpose: the symbol-months of each dropped file, and up to which day they were compared. Locks: none.
CREATE TABLE IF NOT EXISTS tick_file_units (
    dataset   LowCardinality(String),                          -- tick_data or order_book
    file      LowCardinality(String),                          -- relative to the folder of its kind
    symbol    LowCardinality(String),
    month     LowCardinality(String),
    size      Int64,                                           -- of the file, in bytes
    changed   Int64,                                           -- of the file, ns
    units     Int64,                                           -- symbol-months that the file has
    first     Date DEFAULT toDate(0),                          -- first day that the file has of it; 1970 if not recorded
    last      Date,                                            -- last day that the file has of this symbol-month
    compared  Date,                                            -- last day that was compared; the others had not closed; 1970 of none
    newer      Array(String),                                  -- newer files that have some of its instants as well
    newer_rows Array(Int64),                                   -- and how many of its rows each has replaced
    seen      DateTime64(9, 'UTC') DEFAULT now64(9)            -- by the server's clock
) ENGINE = ReplacingMergeTree(seen) ORDER BY (dataset, file, month, symbol);

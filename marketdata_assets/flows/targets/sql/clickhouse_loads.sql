-- Purpose: of each file whose rows a flow keeps in ClickHouse, the load whose rows readers see; the highest counts.
CREATE TABLE IF NOT EXISTS marketdata_flow_loads (
    table     LowCardinality(String),
    file      String,
    load      UInt64,
    rows      UInt64,
    removed   UInt8,
    committed DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ReplacingMergeTree(load) ORDER BY (table, file)

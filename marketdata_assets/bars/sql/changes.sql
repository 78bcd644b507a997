-- Purpose: codes and months changed since their K-line was refreshed, written with the rows; no key, so that loads and
-- refreshes never wait for each other. What earlier versions have loaded counts as changed: they kept no such record.
-- Locks: none beyond creation; run inside a transaction that holds the schema's advisory lock.
CREATE TABLE stock_1min_changes (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month  date NOT NULL,
    code   text NOT NULL,
    run_id text NOT NULL
);
CREATE INDEX stock_1min_changes_month ON stock_1min_changes (month);
INSERT INTO stock_1min_changes (month, code, run_id)
SELECT DISTINCT month, code, '' FROM stock_1min_coverage;

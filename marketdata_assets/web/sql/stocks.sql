-- Purpose: every code that has minutes, with its first and last month. One search in the index for each code: a scan of
-- a market's coverage, a row for each code and month, takes much longer.
-- Parameters: none. Locks: none.
WITH RECURSIVE codes (code) AS (
    (SELECT code FROM stock_1min_coverage ORDER BY code LIMIT 1)
    UNION ALL
    SELECT (SELECT c.code FROM stock_1min_coverage c WHERE c.code > codes.code ORDER BY c.code LIMIT 1)
    FROM codes WHERE codes.code IS NOT NULL
)
SELECT code,
       (SELECT min(month) FROM stock_1min_coverage c WHERE c.code = codes.code),
       (SELECT max(month) FROM stock_1min_coverage c WHERE c.code = codes.code)
FROM codes WHERE code IS NOT NULL

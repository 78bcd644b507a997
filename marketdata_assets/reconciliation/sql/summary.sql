-- Purpose: how many months were compared, how many of them had nothing to compare, what the sources disagree about, and when
-- the last comparison ended. Parameters: table, the name in the ledger.
SELECT compared, empty, disagreements, symbols, newest, last_compared
FROM (SELECT count(*) FILTER (WHERE outcome = 'ok') AS compared, count(*) FILTER (WHERE outcome = 'empty') AS empty,
             max(finished) AS last_compared
      FROM marketdata_ledger WHERE dataset = %(table)s) AS months,
     (SELECT count(*) AS disagreements, count(DISTINCT symbol) AS symbols, max(date) AS newest
      FROM reconciliation) AS found

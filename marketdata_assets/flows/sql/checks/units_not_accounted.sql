-- Files of which a row that was read is neither in the table, nor rejected, nor left out by a handler, of the dataset.
-- In quarantine, a file that has failed has the first rejected rows of its last attempt instead.
SELECT ledger.unit, ledger.read, ledger.rows, ledger.rejected, ledger.skipped, coalesce(kept.rows, 0) AS quarantined
FROM marketdata_ledger AS ledger
LEFT JOIN (
    SELECT unit, count(*) AS rows FROM marketdata_quarantine WHERE dataset = %(dataset)s GROUP BY unit) AS kept
    USING (unit)
WHERE ledger.dataset = %(dataset)s AND ledger.content_hash IS NOT NULL
  AND ((ledger.outcome <> 'failed' AND ledger.rejected <> coalesce(kept.rows, 0)) OR ledger.read <> ledger.rows + ledger.rejected + ledger.skipped)

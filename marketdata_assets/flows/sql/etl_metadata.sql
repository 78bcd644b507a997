-- Purpose: the ledger of the flows under the names that earlier tools had.
-- Locks: none beyond creation.
CREATE VIEW etl_metadata AS
SELECT substr(units.dataset, 6) || '/' || units.unit AS source_identifier,
       ledger.content_hash AS source_hash,
       CASE WHEN units.claim_until > now() THEN 'processing'
            WHEN ledger.outcome = 'failed' THEN 'failed'
            WHEN ledger.outcome IS NULL OR ledger.outcome = 'removed' THEN 'pending'
            ELSE 'completed' END AS status,
       ledger.finished AS processed_at,
       substr(units.dataset, 6) AS flow,
       units.unit,
       ledger.read,
       ledger.rows,
       ledger.rejected,
       ledger.skipped,
       ledger.error,
       ledger.code_version,
       ledger.run_id,
       coalesce(units.claimed_at, ledger.started) AS started
FROM marketdata_flow_units AS units
LEFT JOIN marketdata_ledger AS ledger
    ON (ledger.dataset, ledger.source, ledger.unit) = (units.dataset, units.unit, units.unit);

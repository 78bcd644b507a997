-- Table: marketdata_ledger_rows
-- Purpose: slices that are not final, as JSON. Locks: none; no part is rewritten.
ALTER TABLE marketdata_ledger_rows ADD COLUMN IF NOT EXISTS slice_states String DEFAULT '' CODEC(ZSTD(1)) AFTER reject_slice;

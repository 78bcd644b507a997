-- Table: tick_file_units
-- Purpose: the first day that a file has of a symbol-month; rows of earlier versions have none. Locks: none.
ALTER TABLE tick_file_units ADD COLUMN IF NOT EXISTS first Date DEFAULT toDate(0) AFTER units;

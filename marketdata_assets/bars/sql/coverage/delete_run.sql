-- Delete a code's rows from a first to a last time. Without another condition, and without RETURNING, TimescaleDB deletes
-- compressed batches as a whole. Parameters: code, first and last time, both included.
DELETE FROM stock_1min_qfq WHERE code = %s AND time >= %s AND time <= %s

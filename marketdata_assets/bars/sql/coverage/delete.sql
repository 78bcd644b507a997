-- Delete a code's rows at some times and give their times, in microseconds. The range lets TimescaleDB leave alone the batches
-- outside. Parameters: code, first and last time, both included, and the times.
DELETE FROM stock_1min_qfq WHERE code = %s AND time >= %s AND time <= %s AND time = ANY(%s::timestamp[])
RETURNING (extract(epoch FROM time) * 1000000)::bigint

-- The times of a code's rows, in microseconds. Parameters: code, first and last time, both included.
SELECT (extract(epoch FROM time) * 1000000)::bigint FROM stock_1min_qfq
WHERE code = %s AND time >= %s AND time <= %s ORDER BY time

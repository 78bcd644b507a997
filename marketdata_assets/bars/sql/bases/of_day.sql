-- Purpose: the bars with trades of a code on a day: time in microseconds, price as adjusted, average price as traded.
-- Parameters: code, day, twice.
SELECT (extract(epoch FROM time) * 1000000)::bigint, close::float, (amount / volume / 100)::float FROM stock_1min_qfq
WHERE code = %s AND time >= %s AND time < %s::date + 1 AND volume > 0 AND amount > 0 ORDER BY time

-- Purpose: the first and last day of a code that has minutes; nulls where it has none.
-- Parameters: code. Locks: none.
SELECT min(first)::date, max(last)::date FROM stock_1min_coverage WHERE code = %(code)s

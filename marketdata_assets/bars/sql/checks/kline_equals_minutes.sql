-- Purpose: K-lines of [lo, hi) that differ from a recomputation from the minutes, in either direction.
WITH fresh AS MATERIALIZED ({rows}), kept AS MATERIALIZED (
    SELECT month, code, name, open, high, low, close, volume, amount FROM stock_monthly_kline
    WHERE month >= %(lo)s::timestamp AND month < %(hi)s::timestamp
)
(SELECT * FROM kept EXCEPT ALL SELECT * FROM fresh) UNION ALL (SELECT * FROM fresh EXCEPT ALL SELECT * FROM kept)

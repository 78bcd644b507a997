-- Purpose: by instrument, the trades of a day, and how many of them have the id of another one.
-- Parameters: first, end (the day, half open). Locks: none.
SELECT
    toString(exchange) AS exchange, toString(market_type) AS market_type, toString(instrument) AS instrument,
    toInt64(count()) AS trades, toInt64(count() - uniqExact(trade_id, aggregated)) AS again
FROM exchange_trades FINAL
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
GROUP BY exchange, market_type, instrument
ORDER BY again DESC, instrument
SETTINGS do_not_merge_across_partitions_select_final = 1

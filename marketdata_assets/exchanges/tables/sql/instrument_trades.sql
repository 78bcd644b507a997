-- Purpose: the trades of one instrument on a day, as bars are computed from them.
-- Parameters: exchange, market_type, instrument; first, end (the day, half open). Locks: none.
SELECT time, ts_recv, trade_id, aggregated, first_id, last_id, price, size
FROM exchange_trades FINAL
WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
    AND exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
SETTINGS do_not_merge_across_partitions_select_final = 1

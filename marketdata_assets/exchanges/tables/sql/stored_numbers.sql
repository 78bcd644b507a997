-- Purpose: the numbers of the trades of an instrument around a gap, where its venue numbers them without gaps.
-- Parameters: exchange, market_type, instrument, stream; first, end (the span in ns, half open); numbered, as in
-- sequence_gaps. Locks: none.
SELECT
    toInt64OrZero(if(of_singles, ifNull(first_id, ifNull(toString(sequence), trade_id)), trade_id)) AS begin,
    toInt64OrZero(if(of_singles, ifNull(last_id, ifNull(toString(sequence), trade_id)), trade_id)) AS end_number
FROM (
    SELECT *, isNotNull(sequence) OR (market_type = 'spot' AND {stream:String} != 'aggTrade') AS of_singles
    FROM exchange_trades FINAL
    WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
        AND time >= fromUnixTimestamp64Nano({first:Int64}, 'UTC') AND time < fromUnixTimestamp64Nano({end:Int64}, 'UTC')
        AND (isNotNull(sequence) OR (has({numbered:Array(String)}, exchange) AND (market_type = 'spot' OR aggregated)))
)
SETTINGS do_not_merge_across_partitions_select_final = 1

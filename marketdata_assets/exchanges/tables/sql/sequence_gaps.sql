-- Purpose: numbers of trades that are missing within a day, or between it and the hour before it.
-- Parameters: first, end (the day, half open); numbered (venues whose aggregate trades are numbered). Locks: none.
-- Numbered without gaps are trades with a sequence; of those venues single trades on spot, elsewhere aggregate trades.
SELECT
    toString(exchange) AS exchange, toString(market_type) AS market_type, toString(symbol) AS symbol,
    toString(instrument) AS instrument, named AS stream,
    toInt64(reached) AS reached, toInt64(begin) AS begin, toInt64(ts_from) AS ts_from, toInt64(ts_to) AS ts_to
FROM (
    SELECT
        exchange, market_type, symbol, instrument, time AS moment,
        isNotNull(sequence) OR market_type = 'spot' AS of_singles,
        multiIf(isNotNull(sequence), 'trades', of_singles, 'trade', 'aggTrade') AS named,
        toUnixTimestamp64Nano(time) AS ts_to,
        toInt64OrZero(if(of_singles, ifNull(first_id, ifNull(toString(sequence), trade_id)), trade_id)) AS begin,
        toInt64OrZero(if(of_singles, ifNull(last_id, ifNull(toString(sequence), trade_id)), trade_id)) AS end_number,
        max(end_number) OVER before AS reached,
        max(toUnixTimestamp64Nano(time)) OVER before AS ts_from,
        row_number() OVER (PARTITION BY exchange, market_type, instrument ORDER BY begin) AS place
    FROM exchange_trades FINAL
    WHERE time >= {first:DateTime64(9, 'UTC')} - INTERVAL 1 HOUR AND time < {end:DateTime64(9, 'UTC')}
        AND (isNotNull(sequence) OR (has({numbered:Array(String)}, exchange) AND (market_type = 'spot' OR aggregated)))
    WINDOW before AS (
        PARTITION BY exchange, market_type, instrument ORDER BY begin ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
WHERE place > 1 AND begin > reached + 1 AND moment >= {first:DateTime64(9, 'UTC')}
ORDER BY ts_from, exchange, market_type, instrument

-- Purpose: numbers of Binance's trades that are missing within a day, or between it and the hour before it.
-- Parameters: first, end (the day, half open). Locks: none.
-- On spot, single trades are numbered without gaps; elsewhere aggregate trades are.
SELECT
    toString(exchange) AS exchange, toString(market_type) AS market_type, toString(symbol) AS symbol,
    toString(instrument) AS instrument, if(market_type = 'spot', 'trade', 'aggTrade') AS stream,
    toInt64(reached) AS reached, toInt64(begin) AS begin, toInt64(ts_from) AS ts_from, toInt64(ts_to) AS ts_to
FROM (
    SELECT
        exchange, market_type, symbol, instrument, time AS moment,
        toUnixTimestamp64Nano(time) AS ts_to,
        toInt64OrZero(if(market_type = 'spot', ifNull(first_id, trade_id), trade_id)) AS begin,
        max(toInt64OrZero(if(market_type = 'spot', ifNull(last_id, trade_id), trade_id))) OVER before AS reached,
        max(toUnixTimestamp64Nano(time)) OVER before AS ts_from,
        row_number() OVER (PARTITION BY market_type, instrument ORDER BY begin) AS place
    FROM exchange_trades FINAL
    WHERE time >= {first:DateTime64(9, 'UTC')} - INTERVAL 1 HOUR AND time < {end:DateTime64(9, 'UTC')}
        AND exchange = 'binance' AND (market_type = 'spot' OR aggregated)
    WINDOW before AS (
        PARTITION BY market_type, instrument ORDER BY begin ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
WHERE place > 1 AND begin > reached + 1 AND moment >= {first:DateTime64(9, 'UTC')}
ORDER BY ts_from, market_type, instrument

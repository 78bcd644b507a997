-- Purpose: a condition on the trades of a day that leaves out single trades that are part of a stored aggregate, which
-- may begin or end on the neighbouring day.
-- Parameters: first, end (the day, half open). Locks: none.
-- `only` is replaced by the condition on trades that count.
AND (exchange, market_type, instrument, time, trade_id, aggregated) NOT IN (
    SELECT exchange, market_type, instrument, time, trade_id, aggregated
    FROM (
        SELECT
            exchange, market_type, instrument, time, trade_id, aggregated,
            toInt64OrZero(if(aggregated, ifNull(first_id, ''), trade_id)) AS begin,
            max(if(aggregated, toInt64OrZero(ifNull(last_id, '')), 0)) OVER (
                PARTITION BY exchange, market_type, instrument ORDER BY begin, NOT aggregated
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS reached
        FROM exchange_trades FINAL
        WHERE time >= {first:DateTime64(9, 'UTC')} - INTERVAL 1 MINUTE
            AND time < {end:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE AND ({only})
    )
    WHERE NOT aggregated AND reached > 0 AND begin <= reached
)

-- Purpose: a condition on trades that leaves out aggregates of which a stored single trade has one of some flags: not
-- every flag of a single trade is one of its aggregate.
-- Parameters: first, end (the span, half open), flags. Locks: none.
-- `only` is replaced by the condition on trades that count.
AND (exchange, market_type, instrument, time, trade_id, aggregated) NOT IN (
    SELECT exchange, market_type, instrument, time, trade_id, true
    FROM (
        SELECT exchange, market_type, instrument, toInt64OrZero(trade_id) AS number
        FROM exchange_trades FINAL
        WHERE time >= {first:DateTime64(9, 'UTC')} - INTERVAL 1 MINUTE
            AND time < {end:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE
            AND NOT aggregated AND hasAny(flags, {flags:Array(String)}) AND ({only})
    ) AS single
    ASOF JOIN (
        SELECT
            exchange, market_type, instrument, time, trade_id, toInt64OrZero(ifNull(last_id, '')) AS reached,
            toInt64OrZero(ifNull(first_id, '')) AS number
        FROM exchange_trades FINAL
        WHERE time >= {first:DateTime64(9, 'UTC')} - INTERVAL 1 MINUTE
            AND time < {end:DateTime64(9, 'UTC')} + INTERVAL 1 MINUTE AND aggregated AND ({only})
    ) AS whole USING (exchange, market_type, instrument, number)
    WHERE single.number <= reached
)

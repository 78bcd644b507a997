-- Purpose: bars of one minute of a day, from the stored trades, as docs/exchanges.md defines them.
-- Parameters: first, end (the day, half open), slack (ns that the two clocks may differ), trades (a pattern of streams),
-- by_receipt (exchanges whose trade ids have no order). Locks: none.
-- `other` is replaced by a condition that leaves trades out.
WITH
    toUnixTimestamp64Nano({first:DateTime64(9, 'UTC')}) AS first_ns,
    toUnixTimestamp64Nano({end:DateTime64(9, 'UTC')}) AS end_ns,
    counted AS (
        SELECT
            exchange, market_type, symbol AS named, instrument, time AS moment, price,
            size AS base, contracts AS counts, side = 'buy' AS bought,
            (
                time,
                if(
                    has({by_receipt:Array(String)}, toString(exchange)),
                    toUInt64(ts_recv),
                    toUInt64OrZero(extract(trade_id, '[0-9]+$'))
                ),
                trade_id
            ) AS place,
            if(aggregated, ifNull(toInt64OrNull(last_id) - toInt64OrNull(first_id) + 1, 1), 1) AS singles,
            toDecimal256(price, 18) * toDecimal256(size, 18) AS paid
        FROM exchange_trades FINAL
        WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}{other}
    ),
    bars AS (
        SELECT
            exchange, market_type, any(named) AS symbol, instrument,
            toStartOfInterval(moment, INTERVAL 1 MINUTE) AS minute,
            argMin(price, place) AS open, max(price) AS high, min(price) AS low, argMax(price, place) AS close,
            count() = count(base) AS in_base,
            if(in_base, sum(base), NULL) AS volume,
            if(count() = count(counts), sum(counts), NULL) AS contracts,
            if(in_base, ifNull(sum(paid), 0), NULL) AS quote,
            if(in_base, ifNull(sumIf(base, bought), 0), NULL) AS bought_volume,
            if(in_base, ifNull(sumIf(paid, bought), 0), NULL) AS bought_quote,
            sum(singles) AS trades
        FROM counted
        GROUP BY exchange, market_type, instrument, minute
    ),
    touched AS (
        SELECT exchange, market_type, instrument, minute AS second, count() AS open_gaps
        FROM (
            SELECT
                exchange, market_type, instrument,
                arrayJoin(range(
                    toUInt32(intDiv(greatest(ts_from - {slack:Int64}, first_ns), 60000000000)),
                    toUInt32(intDiv(least(ts_to + {slack:Int64}, end_ns - 1), 60000000000) + 1)
                )) * 60 AS minute
            FROM exchange_gaps FINAL
            WHERE healed_at IS NULL AND match(stream, {trades:String})
                AND ts_from - {slack:Int64} < end_ns AND ts_to + {slack:Int64} >= first_ns
        )
        GROUP BY exchange, market_type, instrument, second
    )
SELECT
    bars.exchange, bars.market_type, bars.symbol, bars.instrument, toDateTime64(bars.minute, 9, 'UTC') AS time,
    open, high, low, close, volume, contracts,
    -- the size of an inverse contract is a quotient that was cut, so its value is off in the last digits
    toDecimal128(if(bars.market_type = 'inverse', round(quote, 8), quote), 18) AS quote_volume,
    bought_volume AS taker_buy_volume,
    toDecimal128(if(bars.market_type = 'inverse', round(bought_quote, 8), bought_quote), 18) AS taker_buy_quote_volume,
    toUInt64(trades) AS trades, toUInt32(ifNull(touched.open_gaps, 0)) AS open_gaps
FROM bars
LEFT JOIN touched
    ON bars.exchange = touched.exchange AND bars.market_type = touched.market_type
    AND bars.instrument = touched.instrument AND toUnixTimestamp(bars.minute) = touched.second

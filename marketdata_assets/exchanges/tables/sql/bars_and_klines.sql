-- Purpose: closed candles of a minute, each with the bar of that minute, and whether the two can be compared.
-- Parameters: first, end (the day, half open). Locks: none.
-- Where a venue does not say when a candle is closed: it is, once there is a later one.
WITH
    candles AS (
        SELECT
            exchange, market_type, instrument, time, open, high, low, close, volume, quote_volume, trades,
            taker_buy_volume, taker_buy_quote_volume,
            ifNull(closed, time < max(time) OVER (PARTITION BY exchange, market_type, instrument)) AS over
        FROM exchange_klines FINAL
        WHERE interval = '1m' AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}
    ),
    first_bars AS (
        SELECT exchange, market_type, instrument, toStartOfInterval(min(time), INTERVAL 1 MINUTE) AS minute
        FROM exchange_ohlcv_1m
        WHERE time >= {first:DateTime64(9, 'UTC')} - INTERVAL 1 DAY AND time < {end:DateTime64(9, 'UTC')}
        GROUP BY exchange, market_type, instrument
    )
SELECT
    toString(candles.exchange) AS exchange, toString(candles.market_type) AS market_type,
    toString(candles.instrument) AS instrument, toUnixTimestamp64Nano(candles.time) AS minute,
    candles.open AS open, candles.high AS high, candles.low AS low, candles.close AS close,
    candles.volume AS volume, candles.quote_volume AS quote_volume, candles.trades AS trades,
    candles.taker_buy_volume AS taker_buy_volume, candles.taker_buy_quote_volume AS taker_buy_quote_volume,
    bars.open AS bar_open, bars.high AS bar_high, bars.low AS bar_low, bars.close AS bar_close,
    bars.volume AS bar_volume, bars.quote_volume AS bar_quote_volume, bars.trades AS bar_trades,
    bars.taker_buy_volume AS bar_taker_buy_volume, bars.taker_buy_quote_volume AS bar_taker_buy_quote_volume,
    toInt64(candles.time > first_bars.minute AND ifNull(bars.open_gaps, 0) = 0) AS judged
FROM candles
INNER JOIN first_bars ON candles.exchange = first_bars.exchange AND candles.market_type = first_bars.market_type
    AND candles.instrument = first_bars.instrument
LEFT JOIN (SELECT * FROM exchange_ohlcv_1m
    WHERE time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}) AS bars
    ON candles.exchange = bars.exchange AND candles.market_type = bars.market_type
    AND candles.instrument = bars.instrument AND candles.time = bars.time
WHERE candles.over AND NOT (ifNull(candles.volume, 0) = 0 AND ifNull(candles.trades, 0) = 0 AND isNull(bars.open))
ORDER BY exchange, market_type, instrument, candles.time
SETTINGS join_use_nulls = 1

-- Purpose: the factors of each day of a month from the bars of it and of the trading days before; null where a factor
-- cannot be computed. Parameters: symbols, sessions (the trading days of the month up to its last, and the earlier ones
-- that its factors use), lengths (how many days as long as each of these are a usual day), first, last (of these days),
-- month (its first day), off_limits (pairs of symbol and day).
--
-- daily_return     last close / last close of the trading day before that has one - 1. It is searched in the
--                  DAYS_BEFORE trading days before. Both must be above 0.
-- volatility       sample standard deviation of the returns from one bar's close to the next within the day, whose closes
--                  must all be above 0. It is per minute, not annualized.
-- volume_ratio     shares of the day / mean shares of the DAYS_BEFORE trading days before: volume per minute against
--                  volume per minute, so those of a half day count twice. All of these days must have bars, and all of their
--                  bars a volume.
-- vwap_deviation   last close / (sum of turnover / sum of volume) - 1. Every bar must have a volume, and every bar with
--                  shares a turnover.
--
-- A day with a bar flagged `units` (128, see FLAGS), or with prices beyond its limits, counts as one without bars. Bars
-- outside the session (64) are no part of a day.
--
-- MIN_BARS and DAYS_BEFORE are those of `factor_sql.py`.
SELECT
    toString(symbol) AS symbol,
    date,
    if(before > 0 AND last_close > 0, last_close / before - 1, NULL) AS daily_return,
    if(lowest > 0, deviation, NULL) AS volatility,
    if(isNotNull(pace) AND days_before = 5 AND shares_before > 0, pace * 5 / shares_before, NULL) AS volume_ratio,
    if(shares > 0 AND money > 0 AND last_close > 0, last_close / (money / shares) - 1, NULL) AS vwap_deviation
FROM (
    SELECT
        symbol,
        date,
        closes,
        last_close,
        lowest,
        deviation,
        shares,
        shares * CAST(%(lengths)s AS Array(Float64))[session] AS pace,
        money,
        argMaxIf(last_close, session, closes > 0) OVER five_before AS before,
        count(pace) OVER five_before AS days_before,
        sum(pace) OVER five_before AS shares_before
    FROM (
        SELECT
            symbol,
            date,
            indexOf(CAST(%(sessions)s AS Array(Date)), date) AS session,
            arrayMap(bar -> bar.2, arraySort(groupArrayIf((ts, assumeNotNull(close)), isNotNull(close)))) AS prices,
            max(bitAnd(flags, 128)) = 0 AS in_units,
            if(in_units, length(prices), 0) AS closes,
            prices[-1] AS last_close,
            arrayMin(prices) AS lowest,
            arrayReduce(
                'stddevSampStable', arrayMap((a, b) -> b / a - 1, arrayPopBack(prices), arrayPopFront(prices))
            ) AS deviation,
            if(in_units AND count(volume) = count(), sum(volume), NULL) AS shares,
            if(countIf(volume > 0 AND isNull(turnover)) = 0, sumIf(turnover, volume > 0), NULL) AS money
        FROM tick_data
        WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s AND bitAnd(flags, 64) = 0
            AND has(CAST(%(sessions)s AS Array(Date)), date)
            AND NOT has(CAST(%(off_limits)s AS Array(Tuple(String, Date))), (toString(symbol), date))
        GROUP BY symbol, date
    )
    WINDOW five_before AS (PARTITION BY symbol ORDER BY session RANGE BETWEEN 5 PRECEDING AND 1 PRECEDING)
)
WHERE date >= %(month)s AND closes >= 10

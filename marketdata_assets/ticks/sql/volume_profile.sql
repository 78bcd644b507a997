-- Purpose: the share of a day's volume in each minute of the exchange's day, averaged over symbols, by label of the bars.
-- Parameters: symbols, of one exchange, its timezone, first and last day.
SELECT named_for, minute, avg(part) AS share, count() AS symbols FROM (
    SELECT symbol, toString(label) AS named_for, formatDateTime(ts, '%%H:%%i', %(timezone)s) AS minute,
        100 * sum(volume) / sum(sum(volume)) OVER (PARTITION BY symbol, named_for) AS part
    FROM tick_data WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s
    GROUP BY symbol, named_for, minute
) WHERE isFinite(part) GROUP BY named_for, minute ORDER BY named_for, minute

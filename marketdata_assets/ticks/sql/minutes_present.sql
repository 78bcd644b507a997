-- Purpose: bars of each symbol and day, and how many of them are of a minute of the exchange's day. Parameters: days,
-- symbols, and the minutes of the day, counted from midnight UTC, of bars labelled by their start and by their end.
-- `mine` is a condition on the symbol.
SELECT toString(symbol) AS name, date AS day, toString(any(label)) AS named_for, count() AS bars, countIf(
    if(
        label = 'end',
        has(CAST(%(end)s AS Array(UInt16)), toUInt16(intDiv(modulo(toUnixTimestamp(ts), 86400), 60))),
        has(CAST(%(start)s AS Array(UInt16)), toUInt16(intDiv(modulo(toUnixTimestamp(ts), 86400), 60)))
    )
) AS present
FROM tick_data WHERE {mine} date IN %(days)s GROUP BY name, day

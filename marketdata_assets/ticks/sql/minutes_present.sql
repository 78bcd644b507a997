-- Purpose: bars of each symbol and day, and how many different minutes of the exchange's day they are of. Parameters: days,
-- symbols, and the minutes of the day, counted from midnight UTC, of bars labelled by their start and by their end.
-- `mine` is a condition on the symbol.
WITH toUInt16(intDiv(modulo(toUnixTimestamp(ts), 86400), 60)) AS minute
SELECT toString(symbol) AS name, date AS day, toString(any(label)) AS named_for, count() AS bars, toInt64(groupBitmapIf(
    minute,
    if(label = 'end', has(CAST(%(end)s AS Array(UInt16)), minute), has(CAST(%(start)s AS Array(UInt16)), minute))
)) AS present
FROM tick_data WHERE {mine} date IN %(days)s GROUP BY name, day

-- Purpose: runs of minutes of A-shares, numbered by day, from tick_data. A row outside the sessions counts to the minute
-- before it, the opening auction to the first; 570 is 09:30 and 780 is 13:00 on the exchange's clock.
-- Parameters: minutes (of a run; 240 is a day), and those of the condition. Locks: none.
WITH
    toTimeZone(ts, 'Asia/Shanghai') AS clock,
    toInt32(toHour(clock) * 3600 + toMinute(clock) * 60 + toSecond(clock)) AS second,
    if(label = 'start', intDiv(second, 60) + 1, intDiv(second + 59, 60)) AS ends,
    if(ends < 780, least(greatest(ends - 570, 1), 120), least(greatest(ends - 780, 1), 120) + 120) AS minute
SELECT toString(symbol) AS code, date, intDiv(minute - 1, {minutes:Int32}) AS period,
       min(label) AS first_label, max(label) AS last_label{values}
FROM tick_data
WHERE {where}
GROUP BY code, date, period

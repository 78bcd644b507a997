-- Purpose: runs of minutes by day, from tick_data. `ends` is the end of a row's minute on the exchange's clock, counted
-- from midnight; `period` begins a run. A row outside the sessions counts to the minute before it, an opening auction to
-- the first. Parameters: timezone, and those of the condition. Locks: none.
WITH
    toTimeZone(ts, '{timezone}') AS clock,
    toInt32(toHour(clock) * 3600 + toMinute(clock) * 60 + toSecond(clock)) AS second,
    if(label = 'start', intDiv(second, 60) + 1, intDiv(second + 59, 60)) AS ends
SELECT toString(symbol) AS code, date, {period} AS period,
       min(label) AS first_label, max(label) AS last_label{values}
FROM tick_data
WHERE {where}
GROUP BY code, date, period

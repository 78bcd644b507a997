-- Purpose: the minutes of each unit in the codes and months that units share, the oldest unit first. Parameter: months.
SELECT code, month, source, minutes FROM stock_1min_coverage WHERE minutes IS NOT NULL AND month = ANY(%(months)s::date[])
ORDER BY code, month, delivered, source COLLATE "C", unit COLLATE "C"

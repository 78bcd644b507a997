-- Purpose: the bars of a symbol on each day that has any.
-- Parameters: symbol. Locks: none.
SELECT date, toInt64(count()) AS bars FROM tick_data WHERE symbol = {symbol:String} GROUP BY date ORDER BY date LIMIT 20000

-- Purpose: every instrument that has bars, books or gaps, and which of them. Equal rows are next to one another in the
-- order of each table, so that the columns take little to read.
-- Parameters: none; {tables} is replaced by a query for each table that exists. Locks: none.
SELECT
    toString(exchange) AS exchange, toString(market_type) AS market_type, toString(instrument) AS instrument,
    toString(any(symbol)) AS symbol, max(of_bars) AS bars, max(of_books) AS books
FROM ({tables})
GROUP BY exchange, market_type, instrument
ORDER BY exchange, market_type, instrument
LIMIT 200000

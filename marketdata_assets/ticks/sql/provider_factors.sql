-- Purpose: the factors of a month that providers returned. Parameters: symbols, first, last, and the name of computed ones.
SELECT toString(symbol) AS symbol, date, toString(factor) AS factor, value, toString(provider) AS provider
FROM factors
WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s AND provider != %(computed)s

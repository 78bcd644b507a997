-- Purpose: which minutes enter the month. GREATEST and LEAST skip NULL, and NaN sorts above every number, hence the rest.
-- Dropped: NULL or negative volume or amount, NULL or NaN prices, high below open or close, low above open or close.
volume >= 0 AND amount >= 0 AND amount <> 'NaN' AND high <> 'NaN'
    AND open IS NOT NULL AND close IS NOT NULL
    AND high >= GREATEST(open, close) AND low <= LEAST(open, close)

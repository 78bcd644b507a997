-- Record the minutes of each day of some codes and months; the counts of a month are the text of an array.
INSERT INTO stock_1min_days (code, month, bars)
SELECT code, month, bars::smallint[]
FROM unnest(%(codes)s::text[], %(months)s::date[], %(bars)s::text[]) AS counted (code, month, bars)

-- Delete the counts of some codes and months.
DELETE FROM stock_1min_days d USING unnest(%(codes)s::text[], %(months)s::date[]) AS gone (code, month)
WHERE d.code = gone.code AND d.month = gone.month

-- Those of some codes and months of which any unit provides minutes.
SELECT code, to_char(month, 'YYYY-MM') FROM unnest(%(codes)s::text[], %(months)s::date[]) AS place (code, month)
WHERE EXISTS (SELECT FROM stock_1min_coverage c WHERE c.code = place.code AND c.month = place.month)

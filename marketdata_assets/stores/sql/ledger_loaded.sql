-- What is loaded of each unit, or, of a forgotten one, was; units of a source that are alike but for their names and hashes are one row.
SELECT source, outcome, slices, rows + superseded + rejected = read, array_agg(unit),
       array_agg(CASE outcome WHEN 'forgotten' THEN attempted_hash ELSE content_hash END)
FROM marketdata_ledger
WHERE dataset = %(dataset)s AND (%(sources)s::text[] IS NULL OR source = ANY(%(sources)s)) GROUP BY 1, 2, 3, 4

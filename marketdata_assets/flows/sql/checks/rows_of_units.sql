-- Files whose rows in {table} are not as many as the ledger has.
SELECT ledger.unit, ledger.rows AS loaded, coalesce(counted.rows, 0) AS in_table
FROM marketdata_ledger AS ledger
JOIN marketdata_flow_units AS units USING (dataset, unit)
LEFT JOIN (SELECT etl_unit, count(*) AS rows FROM {table} GROUP BY etl_unit) AS counted ON etl_unit = units.id
WHERE ledger.dataset = %(dataset)s AND ledger.rows <> coalesce(counted.rows, 0)

-- The rows of {table} and those that the ledger has of all files, where {objection} holds.
SELECT * FROM (
    SELECT (SELECT count(*) FROM {table}) AS in_table,
           (SELECT coalesce(sum(rows), 0) FROM marketdata_ledger WHERE dataset = %(dataset)s) AS loaded) AS counts
WHERE {objection}

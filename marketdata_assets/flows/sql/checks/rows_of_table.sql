-- The rows of {table} and those that the ledger has of all files of its flows, where they differ.
SELECT * FROM (
    SELECT (SELECT count(*) FROM {table}) AS in_table,
           (SELECT coalesce(sum(rows), 0) FROM marketdata_ledger
            WHERE dataset = %(dataset)s
               OR dataset IN (SELECT dataset FROM marketdata_flow_tables WHERE table_name = %(table)s)) AS loaded
    ) AS counts
WHERE in_table <> loaded

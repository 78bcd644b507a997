-- The rows of {table} and those that the ledger has of all files of its flows, where they differ.
SELECT * FROM (
    SELECT (SELECT count(*) FROM {table}) AS in_table,
           (SELECT coalesce(sum(rows), 0) FROM marketdata_ledger
            WHERE dataset = ANY(%(datasets)s)) AS loaded
    ) AS counts
WHERE in_table <> loaded

-- Loads that have rows though another load of their file counts, or none.
SELECT DISTINCT toString(etl_file) AS file, etl_load FROM {rows}
WHERE (etl_file, etl_load) NOT IN (
    SELECT file, max(load) FROM marketdata_flow_loads WHERE table = {table:String} GROUP BY file)

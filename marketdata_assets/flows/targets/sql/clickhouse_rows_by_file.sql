-- Rows of each file that readers see, or would see if no other file overwrote them.
SELECT toString(etl_file) AS unit, count() AS rows FROM {rows}
WHERE (etl_file, etl_load) IN (
    SELECT file, max(load) FROM marketdata_flow_loads WHERE table = {table:String} GROUP BY file)
GROUP BY unit

-- Of each file, by the file whose rows of its keys readers see, how many there are.
SELECT toString(file) AS unit, toString(holder) AS holder, count() AS rows FROM (
    SELECT groupArray(etl_file) AS files, argMax(etl_file, ({ranked})) AS holder FROM {rows}
    WHERE (etl_file, etl_load) IN (
        SELECT file, max(load) FROM marketdata_flow_loads WHERE table = {table:String} GROUP BY file)
    GROUP BY {key}
) ARRAY JOIN files AS file GROUP BY unit, holder SETTINGS optimize_aggregation_in_order = 1

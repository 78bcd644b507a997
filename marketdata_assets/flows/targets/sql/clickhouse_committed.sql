-- The load of each file that counts, how many rows it had, and whether the file was forgotten.
SELECT file, max(load) AS newest, argMax(rows, load) AS held, argMax(removed, load) AS gone FROM marketdata_flow_loads
WHERE table = {table:String} GROUP BY file

SELECT {columns} FROM {rows} WHERE (etl_file, etl_load) IN (SELECT file, max(load) FROM marketdata_flow_loads WHERE table = '{table}' GROUP BY file)

-- Purpose: compress what this transaction copies into the hypertable. Parameter: whether the rows are of one code, and
-- sorted by time. A false promise makes queries return rows in a wrong order, so it is given only where all chunks are
-- segmented by code and ordered by rising time.
SELECT set_config('timescaledb.enable_direct_compress_copy', 'on', true),
       set_config('timescaledb.enable_direct_compress_copy_client_sorted', CASE WHEN %s AND NOT EXISTS (
           SELECT FROM (
               SELECT hypertable, segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings
               UNION ALL
               SELECT hypertable, segmentby, orderby FROM timescaledb_information.chunk_columnstore_settings) s
           WHERE hypertable = 'stock_1min_qfq'::regclass
             AND (segmentby IS DISTINCT FROM 'code' OR orderby IS DISTINCT FROM '"time"')
       ) THEN 'on' ELSE 'off' END, true)

-- Purpose: compress what this transaction copies into a hypertable. Parameter: on where each batch is sorted as the
-- columnstore sorts it; a false promise makes queries return rows in a wrong order.
SELECT set_config('timescaledb.enable_direct_compress_copy', 'on', true),
       set_config('timescaledb.enable_direct_compress_copy_client_sorted', %s, true)

"""The tables of the records in ClickHouse, and the ways into them. What is computed from them stands beside them."""

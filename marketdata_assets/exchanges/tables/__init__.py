"""The tables of the records in ClickHouse, the ways into them, and the tables that are computed from them."""

"""The servers a laptop needs, from wheels alone: PostgreSQL, a Mongo-wire server, ClickHouse over HTTP and NATS.

What is stored in them belongs to `stores` and the domain packages.
"""

"""1-minute A-share bars: yearly zips to a Postgres table, and the monthly K-line above it."""

"""A domain of another package: temperatures of weather stations, a CSV file a month, into one table of PostgreSQL."""

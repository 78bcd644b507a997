"""Each run of Dagster in a container of its own, started by a service that alone reaches the Docker Engine.

`container` says what the container of a run is, `engine` starts and stops it, `service` takes requests on a socket of
the file system, and `client` is what the run launcher sends them with.
"""

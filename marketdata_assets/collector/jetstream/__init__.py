"""JetStream: publishing to the stream, consuming from it, and the spool on disk while the server is unavailable."""

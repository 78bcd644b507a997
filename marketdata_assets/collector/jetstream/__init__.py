"""JetStream: the way into the stream and out of it, and the disk for the time when the server is away."""

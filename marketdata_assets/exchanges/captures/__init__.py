"""Raw traffic on disk: what a socket or a request brought, byte for byte, with the time it was received."""

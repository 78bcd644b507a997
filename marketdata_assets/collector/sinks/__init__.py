"""Where records go besides JetStream."""

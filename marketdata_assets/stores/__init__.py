"""Writing to databases: one file per mechanism, with no domain terms."""

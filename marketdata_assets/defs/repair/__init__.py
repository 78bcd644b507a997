"""Self-healing: the nightly repair, the alert, and the housekeeping of Dagster's own records."""

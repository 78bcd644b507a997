"""Self-healing: the nightly repair, the alert, the daily backup, and the housekeeping of Dagster's own records."""

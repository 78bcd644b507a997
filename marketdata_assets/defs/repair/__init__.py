"""What keeps the rest right by itself: the nightly repair, the alert, and the housekeeping of Dagster's own records."""

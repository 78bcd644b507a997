"""BRAIN alphas as assets: by month and account, from the API to MongoDB."""

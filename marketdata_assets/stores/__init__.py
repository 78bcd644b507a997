"""How data lands: one file per mechanism, with no word of any domain in it."""

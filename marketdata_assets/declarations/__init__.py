"""The declarations of our domains, a module each: see `domains.Domain`. What they are made of is imported when used."""

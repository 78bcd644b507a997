"""Makes the pages of docs/reference from the code: `make docs`. What they say is changed in the code, never in them."""

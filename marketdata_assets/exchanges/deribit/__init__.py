"""Deribit: one socket and one list for perpetuals, futures, options and spot; amounts in USD or in the coin."""

"""A read-only web page of the market: what is loaded of each table, candles of a stock, and its coverage by month."""

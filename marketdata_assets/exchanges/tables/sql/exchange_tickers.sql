-- Purpose: states of a market; a message of best prices has only those.
-- A copy that differs in nothing but ts_recv is the same row.
-- Locks: none.
CREATE TABLE IF NOT EXISTS exchange_tickers (
    exchange          LowCardinality(String),
    market_type       LowCardinality(String),  -- spot, linear, inverse, option
    symbol            LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument        LowCardinality(String),  -- the venue's own name
    -- ns, the venue's clock; null where the message has no time
    ts_event          Nullable(Int64) CODEC(Delta, ZSTD(1)),
    ts_recv           Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    bid               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    bid_size          Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- in `unit`, as ask_size and last_size
    ask               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ask_size          Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    unit              LowCardinality(Nullable(String)),
    update_id         Nullable(Int64) CODEC(Delta, ZSTD(1)),
    last              Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    last_size         Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    open              Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- of 24 hours, as the next ones
    high              Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    low               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    volume            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    contracts         Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    quote_volume      Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    weighted_average  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    trades            Nullable(Int64) CODEC(ZSTD(1)),
    mark_price        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    index_price       Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    settlement_price  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    bid_iv            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- options: implied volatility, percent
    ask_iv            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    mark_iv           Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    price_change      Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- of 24 hours, percent
    underlying_price  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- options: the forward that values them
    delta             Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- options: Black-Scholes, quote units for one base unit
    gamma             Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    vega              Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- for one point of volatility
    theta             Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- for one day
    rho               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    -- ts_event, or ts_recv where there is none
    time              DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    -- two copies of a message without a time, but with an id, have the same
    key_time          Int64 MATERIALIZED ifNull(ts_event, if(isNull(update_id), ts_recv, intDiv(ts_recv,
        86400000000000) * 86400000000000)) CODEC(Delta, ZSTD(1)),
    content           UInt64 MATERIALIZED xxh3(toString((bid, bid_size, ask, ask_size, unit, update_id,
        last, last_size, open, high, low, volume, contracts, quote_volume, weighted_average, trades, mark_price,
        index_price, settlement_price, bid_iv, ask_iv, mark_iv, price_change, underlying_price, delta, gamma, vega,
        theta, rho))) CODEC(ZSTD(1)),
    -- what was received first stays
    version           UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1)),
    INDEX time_span time TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, key_time, ifNull(update_id, -1), content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1

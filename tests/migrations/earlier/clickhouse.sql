-- Purpose: the tables of an earlier version, as its schema files created them.

CREATE TABLE IF NOT EXISTS marketdata_ledger_rows (
    dataset         LowCardinality(String),            -- the table the unit is loaded into
    unit            LowCardinality(String),
    source          LowCardinality(String),
    aspect          LowCardinality(String),            -- 'stands': committed content; 'attempt': the last load -- words: ok
    version         UInt64,                            -- ns of the server's clock; orders publishes as they happened
    content_hash    Nullable(String),                  -- content; '' while a publish is pending
    previous_hash   Nullable(String),                  -- content: the hash before
    slices          LowCardinality(String),            -- content: covered parts of the unit, joined by commas
    read            Int64,                             -- content, as the next three
    skipped         Int64,
    rows            Int64,
    rejected        Int64,
    origin          LowCardinality(String),            -- content: the provider
    outcome         LowCardinality(String),            -- attempt, as the next six
    attempted_hash  Nullable(String),
    error           Nullable(String) CODEC(ZSTD(1)),
    code_version    LowCardinality(String),
    run_id          LowCardinality(String),
    started         DateTime64(6, 'UTC'),
    finished        DateTime64(6, 'UTC'),
    reject_line     Array(Int64),                      -- both: rejected rows of the content, or of a failed attempt
    reject_reason   Array(String) CODEC(ZSTD(1)),
    reject_raw      Array(String) CODEC(ZSTD(3)),
    reject_slice    Array(String) CODEC(ZSTD(1)),      -- '': not known
    CONSTRAINT aspect_known CHECK aspect IN ('stands', 'attempt'),  -- words: ok
    CONSTRAINT outcome_known CHECK aspect = 'stands' OR outcome IN ('ok', 'empty', 'unsupported', 'failed', 'removed')  -- words: ok
) ENGINE = ReplacingMergeTree(version) ORDER BY (dataset, unit, source, aspect) SETTINGS index_granularity = 1024;

CREATE TABLE IF NOT EXISTS marketdata_ledger_log (
    dataset         LowCardinality(String),
    unit            LowCardinality(String),
    source          LowCardinality(String),
    version         UInt64,
    outcome         LowCardinality(String),
    attempted_hash  Nullable(String),
    error           Nullable(String) CODEC(ZSTD(1)),
    rows            Int64,
    rejected        Int64,
    origin          LowCardinality(String),
    code_version    LowCardinality(String),
    run_id          LowCardinality(String),
    started         DateTime64(6, 'UTC'),
    finished        DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY (dataset, unit, source, version);

CREATE MATERIALIZED VIEW IF NOT EXISTS marketdata_ledger_attempts TO marketdata_ledger_log AS
SELECT
    dataset, unit, source, version, outcome, attempted_hash, error, rows, rejected, origin, code_version, run_id,
    started, finished
FROM marketdata_ledger_rows
WHERE aspect = 'attempt';

CREATE OR REPLACE VIEW marketdata_ledger AS
SELECT
    dataset, source, unit,
    committed.1 AS content_hash,
    committed.2 AS previous_hash,
    committed.3 AS slices,
    committed.4 AS read,
    committed.5 AS skipped,
    committed.6 AS rows,
    committed.7 AS rejected,
    committed.8 AS origin,
    attempt.1 AS outcome,
    attempt.2 AS attempted_hash,
    attempt.3 AS error,
    attempt.4 AS code_version,
    attempt.5 AS run_id,
    attempt.6 AS started,
    attempt.7 AS finished,
    committed_version AS version
FROM (
    SELECT
        dataset, source, unit,
        argMaxIf((content_hash, previous_hash, slices, read, skipped, rows, rejected, origin), version, aspect = 'stands')  -- words: ok
            AS committed,
        argMaxIf(
            (outcome, attempted_hash, error, code_version, run_id, started, finished),
            version,
            aspect = 'attempt' OR ifNull(content_hash = '', false)  -- a pending publish is an unfinished attempt
        ) AS attempt,
        maxIf(version, aspect = 'stands') AS committed_version  -- words: ok
    FROM marketdata_ledger_rows
    GROUP BY dataset, source, unit
);

CREATE TABLE IF NOT EXISTS trading_calendar (
    date    Date,
    open    Bool,
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC')
) ENGINE = MergeTree ORDER BY date;

CREATE TABLE IF NOT EXISTS instruments (
    symbol    String,                                          -- 600000.SH
    name      String,
    listed    Nullable(Date),
    delisted  Nullable(Date),
    status    LowCardinality(String),
    board     LowCardinality(String),
    lot       UInt32,                                          -- the least number of shares of an order
    source    LowCardinality(String),
    seen      DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT status_known CHECK status IN ('listed', 'delisted', 'paused', 'vanished')
) ENGINE = MergeTree ORDER BY symbol;

CREATE TABLE IF NOT EXISTS name_history (
    symbol  String,
    name    String,
    first   Date,
    last    Nullable(Date),
    reason  String,
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != ''
) ENGINE = MergeTree ORDER BY (symbol, first);

CREATE TABLE IF NOT EXISTS code_changes (
    old     String,
    new     String,
    date    Date,
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC'),
    CONSTRAINT codes_named CHECK old != '' AND new != '' AND old != new
) ENGINE = MergeTree ORDER BY (old, date);

CREATE TABLE IF NOT EXISTS suspensions (
    symbol  LowCardinality(String),
    date    Date,
    timing  String,                                            -- '': the whole day; else 09:30-10:00
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != ''
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date, timing);

CREATE TABLE IF NOT EXISTS adjust_factors (
    symbol      LowCardinality(String),
    date        Date CODEC(ZSTD(1)),
    adj_factor  Float64 CODEC(ZSTD(1)),
    source      LowCardinality(String),
    seen        DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT factor_positive CHECK adj_factor > 0 AND isFinite(adj_factor)
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date);

CREATE TABLE IF NOT EXISTS price_limits (
    symbol  LowCardinality(String),
    date    Date CODEC(ZSTD(1)),
    up      Float64 CODEC(ZSTD(1)),
    down    Float64 CODEC(ZSTD(1)),
    source  LowCardinality(String),
    seen    DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    CONSTRAINT symbol_named CHECK symbol != ''
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date);
CREATE TABLE IF NOT EXISTS exchange_funding_rates (
    exchange        LowCardinality(String),
    market_type     LowCardinality(String),  -- spot, linear, inverse, option
    symbol          LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument      LowCardinality(String),  -- the venue's own name
    -- ns, the venue's clock; null where the message has no time
    ts_event        Nullable(Int64) CODEC(Delta, ZSTD(1)),
    ts_recv         Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    rate            Decimal(38, 18) CODEC(ZSTD(1)),
    funding_time    Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, when the rate is paid, or was
    predicted_rate  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- of the period after
    interval_hours  Nullable(Int64) CODEC(ZSTD(1)),
    mark_price      Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    index_price     Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    -- ts_event, or ts_recv where there is none
    time            DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    content         UInt64 MATERIALIZED xxh3(toString((rate, funding_time, predicted_rate, interval_hours,
        mark_price, index_price))) CODEC(ZSTD(1)),
    -- what was received first stays
    version         UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS exchange_gaps (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),
    symbol       LowCardinality(String),
    instrument   LowCardinality(String),  -- the venue's own name
    stream       LowCardinality(String),  -- as the venue calls it
    last_id      Nullable(Int64) CODEC(ZSTD(1)),  -- what came last before it
    next_id      Nullable(Int64) CODEC(ZSTD(1)),  -- what came next
    ts_from      Int64 CODEC(Delta, ZSTD(1)),  -- ns, receive time of the last good message
    ts_to        Int64 CODEC(Delta, ZSTD(1)),  -- ns, receive time of the message that showed the hole
    cause        LowCardinality(String),
    healed_at    Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns
    -- ts_from
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ts_from, 'UTC') CODEC(Delta, ZSTD(1)),
    version      UInt64 MATERIALIZED toUInt64(ifNull(healed_at, 0)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, stream, ts_to, cause, ifNull(last_id, -1), ifNull(next_id, -1))
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS exchange_klines (
    exchange                LowCardinality(String),
    market_type             LowCardinality(String),  -- spot, linear, inverse, option
    symbol                  LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument              LowCardinality(String),  -- the venue's own name
    -- ns, the venue's clock; null where the message has no time
    ts_event                Nullable(Int64) CODEC(Delta, ZSTD(1)),
    ts_recv                 Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    interval                LowCardinality(String),  -- 1m, 1h, 1d; 1M is a month
    open_time               Int64 CODEC(Delta, ZSTD(1)),  -- ns
    close_time              Int64 CODEC(Delta, ZSTD(1)),  -- ns, the first moment that is no longer in it
    open                    Decimal(38, 18) CODEC(ZSTD(1)),
    high                    Decimal(38, 18) CODEC(ZSTD(1)),
    low                     Decimal(38, 18) CODEC(ZSTD(1)),
    close                   Decimal(38, 18) CODEC(ZSTD(1)),
    volume                  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    contracts               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    quote_volume            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    trades                  Nullable(Int64) CODEC(ZSTD(1)),
    taker_buy_volume        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    taker_buy_quote_volume  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    closed                  Nullable(Bool),  -- null where the venue does not say
    -- open_time
    time                    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(open_time, 'UTC') CODEC(Delta,
        ZSTD(1)),
    -- a closed one, the newest one, what was received first
    version                 UInt128 MATERIALIZED bitOr(bitShiftLeft(toUInt128(ifNull(closed, false)), 127),
        bitOr(bitShiftLeft(toUInt128(ifNull(ts_event, ts_recv)), 64),
        toUInt128(bitNot(reinterpretAsUInt64(ts_recv))))) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, interval, time)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS exchange_liquidations (
    exchange        LowCardinality(String),
    market_type     LowCardinality(String),  -- spot, linear, inverse, option
    symbol          LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument      LowCardinality(String),  -- the venue's own name
    -- ns, the venue's clock; null where the message has no time
    ts_event        Nullable(Int64) CODEC(Delta, ZSTD(1)),
    ts_recv         Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    side            LowCardinality(String),  -- sell closes a long position
    -- at which it traded; where the venue does not say, its bankruptcy price
    price           Decimal(38, 18) CODEC(ZSTD(1)),
    size            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    contracts       Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    liquidation_id  Nullable(String) CODEC(ZSTD(1)),
    -- ts_event, or ts_recv where there is none
    time            DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    content         UInt64 MATERIALIZED xxh3(toString((side, price, size, contracts))) CODEC(ZSTD(1)),
    -- what was received first stays
    version         UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, ifNull(liquidation_id, ''), content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS exchange_ohlcv_1m (
    exchange                LowCardinality(String),
    market_type             LowCardinality(String),
    symbol                  LowCardinality(String),
    instrument              LowCardinality(String),
    time                    DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),  -- start of the minute
    open                    Decimal(38, 18) CODEC(ZSTD(1)),
    high                    Decimal(38, 18) CODEC(ZSTD(1)),
    low                     Decimal(38, 18) CODEC(ZSTD(1)),
    close                   Decimal(38, 18) CODEC(ZSTD(1)),
    volume                  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    contracts               Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    quote_volume            Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    taker_buy_volume        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    taker_buy_quote_volume  Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    trades                  UInt64 CODEC(ZSTD(1)),
    open_gaps               UInt32 CODEC(ZSTD(1))  -- gaps of trades that are not healed and touch the minute
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, time)
;
CREATE TABLE IF NOT EXISTS exchange_open_interest (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),  -- spot, linear, inverse, option
    symbol       LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument   LowCardinality(String),  -- the venue's own name
    ts_event     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, the venue's clock; null where the message has no time
    ts_recv      Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    contracts    Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    size         Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units
    value        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- quote units
    -- ts_event, or ts_recv where there is none
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    content      UInt64 MATERIALIZED xxh3(toString((contracts, size, value))) CODEC(ZSTD(1)),
    -- what was received first stays
    version      UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (exchange, market_type, instrument, time, content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS exchange_orderbooks (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),  -- spot, linear, inverse, option
    symbol       LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument   LowCardinality(String),  -- the venue's own name
    ts_event     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, the venue's clock; null where the message has no time
    ts_recv      Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    kind         LowCardinality(String),  -- snapshot, delta
    -- best first in a snapshot, as published in a delta; size 0 takes a level away
    bids         Array(Tuple(price Decimal(38, 18), size Decimal(38, 18))) CODEC(ZSTD(1)),
    asks         Array(Tuple(price Decimal(38, 18), size Decimal(38, 18))) CODEC(ZSTD(1)),
    unit         LowCardinality(String),  -- of sizes: base, contracts, quote
    first_id     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- first update that is in it
    last_id      Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- last update that is in it
    prev_id      Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- the update it follows
    -- ts_event, or ts_recv where there is none
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    -- two copies of a message without a time, but with an id, have the same
    key_time     Int64 MATERIALIZED ifNull(ts_event, if(isNull(last_id), ts_recv, intDiv(ts_recv,
        86400000000000) * 86400000000000)) CODEC(Delta, ZSTD(1)),
    content      UInt64 MATERIALIZED xxh3(bids, asks, ifNull(first_id, -1), ifNull(prev_id, -1)) CODEC(ZSTD(1)),
    -- what was received first stays
    version      UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1)),
    INDEX time_span time TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, key_time, ifNull(last_id, -1), kind, content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS exchange_rejects (
    type     LowCardinality(String),                   -- of the record, as in its JSON
    reason   String CODEC(ZSTD(1)),
    raw      String CODEC(ZSTD(3)),
    source   LowCardinality(String),                   -- what brought it: the drain, a file
    seen     DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    content  FixedString(16) MATERIALIZED sipHash128(raw)
) ENGINE = ReplacingMergeTree
ORDER BY (type, content)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
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
    -- ts_event, or ts_recv where there is none
    time              DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    -- two copies of a message without a time, but with an id, have the same
    key_time          Int64 MATERIALIZED ifNull(ts_event, if(isNull(update_id), ts_recv, intDiv(ts_recv,
        86400000000000) * 86400000000000)) CODEC(Delta, ZSTD(1)),
    content           UInt64 MATERIALIZED xxh3(toString((bid, bid_size, ask, ask_size, unit, update_id,
        last, last_size, open, high, low, volume, contracts, quote_volume, weighted_average, trades, mark_price,
        index_price, settlement_price, bid_iv, ask_iv, mark_iv))) CODEC(ZSTD(1)),
    -- what was received first stays
    version           UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1)),
    INDEX time_span time TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, key_time, ifNull(update_id, -1), content)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS exchange_trades (
    exchange     LowCardinality(String),
    market_type  LowCardinality(String),  -- spot, linear, inverse, option
    symbol       LowCardinality(String),  -- BASE-QUOTE, with expiry, strike and right
    instrument   LowCardinality(String),  -- the venue's own name
    ts_event     Nullable(Int64) CODEC(Delta, ZSTD(1)),  -- ns, the venue's clock; null where the message has no time
    ts_recv      Int64 CODEC(Delta, ZSTD(1)),  -- ns, our clock
    trade_id     String CODEC(ZSTD(1)),
    price        Decimal(38, 18) CODEC(ZSTD(1)),
    size         Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),  -- base units; null when only contracts are known
    contracts    Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    side         LowCardinality(String),  -- of the taker
    -- of trades that the venue aggregated: the first and the last
    first_id     Nullable(String) CODEC(ZSTD(1)),
    last_id      Nullable(String) CODEC(ZSTD(1)),
    -- ts_event, or ts_recv where there is none
    time         DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(ifNull(ts_event, ts_recv), 'UTC')
        CODEC(Delta, ZSTD(1)),
    aggregated   Bool MATERIALIZED isNotNull(first_id),  -- such trades have numbers of their own
    -- what was received first stays
    version      UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(ts_recv)) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (exchange, market_type, instrument, time, trade_id, aggregated)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE TABLE IF NOT EXISTS factors (
    symbol    LowCardinality(String),
    date      Date CODEC(ZSTD(1)),                             -- day of the exchange
    factor    LowCardinality(String),
    value     Float64 CODEC(ZSTD(1)),
    provider  LowCardinality(String),                          -- tick_data: computed from it
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT factor_named CHECK factor != '',
    CONSTRAINT provider_named CHECK provider != '',
    CONSTRAINT value_finite CHECK isFinite(value)
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, date, factor);
CREATE TABLE IF NOT EXISTS order_book (
    symbol     LowCardinality(String),
    date       Date CODEC(ZSTD(1)),                            -- day of the exchange
    ts         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    provider   LowCardinality(String),
    bid_price  Array(Float64) CODEC(ZSTD(1)),
    bid_size   Array(Float64) CODEC(ZSTD(1)),                  -- shares
    ask_price  Array(Float64) CODEC(ZSTD(1)),
    ask_size   Array(Float64) CODEC(ZSTD(1)),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT provider_named CHECK provider != '',
    CONSTRAINT sides_even CHECK length(bid_price) = length(bid_size) AND length(ask_price) = length(ask_size),
    CONSTRAINT levels CHECK length(bid_price) + length(ask_price) > 0
        AND length(bid_price) <= 10 AND length(ask_price) <= 10
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, ts);
CREATE TABLE IF NOT EXISTS symbols (
    symbol    String,
    name      String,
    listed    Nullable(Date),
    delisted  Nullable(Date),
    status    LowCardinality(String),
    source    LowCardinality(String),                          -- who said so
    seen      DateTime64(3, 'UTC'),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT status_known CHECK status IN ('listed', 'delisted', 'paused', 'vanished')
) ENGINE = ReplacingMergeTree(seen) ORDER BY symbol;
CREATE TABLE IF NOT EXISTS tick_data (
    symbol    LowCardinality(String),                          -- 600000.SH
    date      Date CODEC(ZSTD(1)),                             -- day of the exchange
    ts        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),      -- as the provider labels the bar
    label     LowCardinality(String),                          -- the end of its minute that ts is: start or end
    interval  LowCardinality(String),
    open      Nullable(Float64) CODEC(ZSTD(1)),
    high      Nullable(Float64) CODEC(ZSTD(1)),
    low       Nullable(Float64) CODEC(ZSTD(1)),
    close     Nullable(Float64) CODEC(ZSTD(1)),
    volume    Nullable(Int64) CODEC(ZSTD(1)),                  -- shares
    turnover  Nullable(Float64) CODEC(ZSTD(1)),                -- in currency
    currency  LowCardinality(Nullable(String)),
    flags     UInt8 CODEC(ZSTD(1)),                            -- why the bar deserves a second look, see FLAGS
    provider  LowCardinality(String),
    CONSTRAINT symbol_named CHECK symbol != '',
    CONSTRAINT provider_named CHECK provider != '',
    CONSTRAINT label_known CHECK label IN ('start', 'end'),
    CONSTRAINT interval_known CHECK interval IN ('1m')
) ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (symbol, ts);

-- Purpose: in which forms the book of one instrument is stored on a day: with numbers of updates, or without; changes, or whole books.
-- Parameters: exchange, market_type, instrument; first, end (the day, half open). Locks: none.
SELECT
    toInt64(countIf(last_id IS NOT NULL)) AS numbered,
    toInt64(countIf(kind = 'delta' AND last_id IS NULL)) AS changes,
    toInt64(countIf(kind = 'snapshot' AND last_id IS NULL)) AS snapshots,
    toInt64(max(greatest(length(bids), length(asks)))) AS depth
FROM exchange_orderbooks
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
    AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}

-- Purpose: the changes of a book after a whole one, summed up between some instants: whether each follows the one before
-- it shows in the sums, as the numbers from the first to the last are then as many as those of all changes together.
-- Copies that are not merged yet are counted; `{final}` is replaced by FINAL where they must not be.
-- Parameters: exchange, market_type, instrument; first, end (a half-open span of the venue's time); base_id
-- (of the whole book); steps (0 and the instants but the last, ns). The step is the instant before.
-- `held_until` and `held_id` are of the last change that the whole book holds already. Locks: none.
SELECT
    step, begin, newest_id, numbers, irregular, held_until, held_id,
    first_change.1 AS first_at, first_change.2 AS first_id, first_change.3 AS first_begin,
    last_change.1 AS last_at, last_change.2 AS last_id
FROM (
    SELECT
        step,
        minIf(before, new) AS begin,
        maxIf(number, new) AS newest_id,
        sumIf(number - before, new) AS numbers,
        minIf((at, number, before), new) AS first_change,
        maxIf((at, number), new) AS last_change,
        maxIf(at, NOT new) AS held_until,
        maxIf(number, NOT new) AS held_id,
        toBool(count() > count(number) OR count() > count(before)) AS irregular
    FROM (
        SELECT
            toUnixTimestamp64Nano(time) AS at,
            roundDown(at - 1, {steps:Array(Int64)}) AS step,
            last_id AS number,
            ifNull(prev_id, first_id - 1) AS before,
            ifNull(number > {base_id:Int64}, true) AS new
        FROM exchange_orderbooks {final}
        WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND instrument = {instrument:String}
            AND time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')} AND kind = 'delta'
    )
    GROUP BY step
)
ORDER BY step
SETTINGS do_not_merge_across_partitions_select_final = 1

-- Acquire a turn if it is due: whether, and the seconds until the next one. No row: another process has just made the budget.
-- Parameters: name, delay to the next turn and lateness in seconds, longest possible pause in seconds.
-- Locks: the row, within this statement.
WITH taken AS (
    INSERT INTO request_budgets AS budget (name, turn)
    VALUES (%(name)s, clock_timestamp() + make_interval(secs => %(delay)s))
    ON CONFLICT (name) DO UPDATE SET turn = make_interval(secs => %(delay)s) + CASE
        WHEN budget.turn > clock_timestamp() THEN clock_timestamp()
        ELSE greatest(budget.turn, clock_timestamp() - make_interval(secs => %(lateness)s))
    END
    WHERE budget.turn <= clock_timestamp() OR budget.turn > clock_timestamp() + make_interval(secs => %(longest)s)
    RETURNING turn
)
SELECT true, extract(epoch FROM turn - clock_timestamp())::float8 FROM taken
UNION ALL
SELECT false, extract(epoch FROM turn - clock_timestamp())::float8 FROM request_budgets
WHERE name = %(name)s AND NOT EXISTS (SELECT FROM taken)

-- Grant no turn for some seconds; a longer pause stays.
-- Parameters: name, seconds. Locks: the row, within this statement.
INSERT INTO request_budgets AS budget (name, turn)
VALUES (%(name)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (name) DO UPDATE SET turn = greatest(budget.turn, excluded.turn)

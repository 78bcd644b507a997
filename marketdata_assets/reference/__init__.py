"""Reference data of A-shares: the trading calendar, instruments, suspensions, adjustment factors, price limits."""

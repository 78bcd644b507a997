-- Purpose: refresh the last months in the background. A negative end includes the current month; without it the policy
-- stops before. Corrections older than the window are refreshed by the runs that load them, never by this.
SELECT add_continuous_aggregate_policy('stock_monthly_kline', start_offset => INTERVAL '3 months',
    end_offset => INTERVAL '-1 month', schedule_interval => INTERVAL '30 minutes');

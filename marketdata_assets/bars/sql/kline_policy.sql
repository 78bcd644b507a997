-- Purpose: refresh the last months in the background. A negative end includes the current month; without it the policy
-- stops before. Corrections older than the window are refreshed by the asset, never by this.
SELECT remove_continuous_aggregate_policy('stock_monthly_kline', if_exists => true);
SELECT add_continuous_aggregate_policy('stock_monthly_kline', start_offset => INTERVAL '3 months',
    end_offset => INTERVAL '-1 month', schedule_interval => INTERVAL '30 minutes');

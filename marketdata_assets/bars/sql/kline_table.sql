-- Purpose: the monthly K-line as a plain table, where there can be no continuous aggregate; same columns, same types.
CREATE TABLE stock_monthly_kline (
    month  timestamp NOT NULL,
    code   text      NOT NULL,
    name   text,
    open   numeric,
    high   numeric,
    low    numeric,
    close  numeric,
    volume numeric,
    amount numeric,
    PRIMARY KEY (code, month)
);
CREATE INDEX stock_monthly_kline_month ON stock_monthly_kline (month);

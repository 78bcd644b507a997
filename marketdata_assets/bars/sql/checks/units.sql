-- Purpose: files whose volume or amount is in other units than lots of 100 shares and yuan, by the average price that these give.
-- That price lies within the month's range in unadjusted bars, and above it in bars adjusted forward, the more so the older they
-- are. So one of less than a 20th of the range says that units are wrong, whatever the adjustment; one that is 100, 1000 or 10000
-- times a price of the range says so only in the last five years before the delivery, in a month whose range is narrow: near zero,
-- where dividends were subtracted, the ratio of two prices says nothing. `ratio` is the average price to the middle of the range.
-- A month may have some days in other units, which are lost in its average: the days of suspect months, and of `sampled` ones, are
-- judged one by one, and the file is named that provides such a day. Parameters: months, sampled.
WITH priced AS (
    SELECT month, code, low, high, amount / volume / 100 AS price FROM stock_monthly_kline
    WHERE month = ANY(%(months)s) AND volume > 0 AND amount > 0 AND low > 0
), judged AS (
    SELECT p.*, p.price / ((p.low + p.high) / 2) AS ratio, newest.source,
           p.high < 1.5 * p.low AND newest.last > to_timestamp(newest.delivered / 1e9) AT TIME ZONE 'Asia/Shanghai'
                                                  - interval '5 years' AS certain
    FROM priced p CROSS JOIN LATERAL (
        SELECT source, delivered, last FROM stock_1min_coverage c
        WHERE c.code = p.code AND c.month = p.month::date AND rows > superseded
        ORDER BY delivered DESC, source DESC LIMIT 1) newest
), suspect AS (
    SELECT j.*, of_month.wrong FROM judged j CROSS JOIN LATERAL (
        SELECT CASE WHEN j.price * 20 < j.low THEN 'low'
                    WHEN j.certain AND EXISTS (
                        SELECT FROM (VALUES (100), (1000), (10000)) AS by (times)
                        WHERE j.price BETWEEN 0.98 * by.times * j.low AND 1.02 * by.times * j.high)
                    THEN 'high' END AS wrong) of_month
    WHERE wrong IS NOT NULL OR price < 0.98 * low OR month = ANY(%(sampled)s)
), days AS (
    SELECT s.code, s.month, s.source, d.day, d.price / ((d.low + d.high) / 2) AS ratio,
           CASE WHEN d.price * 20 < d.low THEN 'low'
                WHEN s.certain AND d.price > 50 * d.high AND (s.wrong = 'high' OR EXISTS (
                    SELECT FROM (VALUES (100), (1000), (10000)) AS by (times)
                    WHERE d.price BETWEEN 0.98 * by.times * d.low AND 1.02 * by.times * d.high))
                THEN 'high' END AS wrong,
           count(*) OVER (PARTITION BY s.code, s.month) AS days
    FROM suspect s CROSS JOIN LATERAL (
        SELECT time::date AS day, sum(amount) / sum(volume) / 100 AS price, min(low) AS low, max(high) AS high
        FROM stock_1min_qfq b
        WHERE b.code = s.code AND b.time >= s.month AND b.time < s.month + interval '1 month'
          AND volume > 0 AND amount > 0 AND low > 0
        GROUP BY 1) d
), counted AS (
    SELECT d.code, d.month, coalesce(provider.source, d.source) AS source, d.wrong, days, count(*) AS wrong_days, min(day) AS day,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ratio) AS ratio
    FROM days d LEFT JOIN LATERAL (
        SELECT source FROM stock_1min_coverage c
        WHERE c.code = d.code AND c.month = d.month::date AND rows > superseded AND d.day BETWEEN c.first::date AND c.last::date
        ORDER BY delivered DESC, source DESC LIMIT 1) provider ON true
    WHERE d.wrong IS NOT NULL GROUP BY 1, 2, 3, 4, 5
), found AS (
    SELECT code, month, source, wrong, ratio, days, wrong_days, day FROM counted
    UNION ALL
    SELECT code, month, source, wrong, ratio, NULL, NULL, NULL FROM suspect s
    WHERE wrong IS NOT NULL AND NOT EXISTS (SELECT FROM counted c WHERE (c.code, c.month) = (s.code, s.month))
), wrong AS (
    SELECT source, count(DISTINCT code) AS codes, min(code) AS code, min(month) AS month,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ratio) AS ratio,
           sum(wrong_days) AS wrong_days, sum(days) AS days, min(day) AS day
    FROM found GROUP BY source, wrong
)
SELECT source AS file, codes, code, to_char(month, 'YYYY-MM') AS month,
       CASE WHEN ratio < 1 THEN trim(to_char(ratio, '0.000000')) ELSE trim(to_char(ratio, '9999990.0')) END AS ratio,
       CASE WHEN wrong_days > 0 AND wrong_days < days
            THEN 'of ' || wrong_days || ' of ' || days || ' days only, such as ' || day || ': ' ELSE '' END
       || CASE WHEN ratio BETWEEN 0.005 AND 0.05 THEN 'volume seems to be in shares: divide it by 100'
            WHEN ratio < 0.005 AND ratio >= 0.0005 THEN 'amount seems to be in thousands of yuan: multiply it by 1000'
            WHEN ratio < 0.0005 THEN 'volume in shares, or amount in thousands or ten thousands of yuan: convert them'
            WHEN ratio < 500 THEN 'amount seems to be in cents, or volume in hundreds of lots: convert it'
            ELSE 'amount or volume has another unit: convert it' END
       || ' to lots of 100 shares and yuan, and deliver the file again' AS remedy
FROM wrong ORDER BY 1, 2

-- The newest day of {by}, where its {figure} is further than {share} from that of the day before, at most {days} earlier.
SELECT day::text AS row, figure::text AS value, 'near ' || before AS expected
FROM (
    SELECT day, figure, lag(figure) OVER (ORDER BY day) AS before, max(day) OVER () AS newest
    FROM (
        SELECT {day} AS day, {figure} AS figure FROM {table}
        WHERE {by} > (SELECT max({by}) FROM {table}) - {days} * interval '1 day'
        GROUP BY 1) AS days) AS pairs
WHERE day = newest AND abs(figure - before) > {share} * abs(before)

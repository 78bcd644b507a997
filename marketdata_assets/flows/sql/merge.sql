-- Purpose: judge the staged rows of one file by those of their keys in the table, both in {met}, and record which rows pass
--          from file to file. A row is overwritten when it is of the same file, or lower in the declared order, or equal
--          there and of a file whose name sorts before: numbers in names compare by value. Answers how many rows belong
--          to the file now, whether one has become lower, how many are to be overwritten, and which files sort before.
-- Parameters: number, of the file.
-- Locks: rows of marketdata_flow_moves; the caller holds the locks of the keys.
WITH counted AS MATERIALIZED (
    SELECT _owner, _ahead, count(*) AS rows, count(*) FILTER (WHERE _differs) AS differing
    FROM {met} GROUP BY _owner, _ahead
), owners AS MATERIALIZED ( -- each looked up by its number (LIMIT): other flows may have many units
    SELECT ids.id, unit COLLATE "C" AS unit,
           regexp_replace(regexp_replace(unit, '([0-9]+)', repeat('0', 20) || '\1', 'g'),
                          '[0-9]*([0-9]{{20}})', '\1', 'g') COLLATE "C" AS place
    FROM (SELECT %(number)s AS id UNION SELECT _owner FROM counted WHERE _owner IS NOT NULL) AS ids
    LEFT JOIN LATERAL (SELECT unit FROM marketdata_flow_units AS units WHERE units.id = ids.id LIMIT 1) AS named ON true
), older AS MATERIALIZED (
    SELECT owners.id FROM owners JOIN owners AS own ON own.id = %(number)s
    WHERE owners.unit IS NULL OR (owners.place, owners.unit, owners.id) < (own.place, own.unit, own.id)
), judged AS MATERIALIZED (
    SELECT counted.*, _owner = %(number)s OR _ahead > 0 OR (_ahead = 0 AND older.id IS NOT NULL) AS _wins
    FROM counted LEFT JOIN older ON older.id = _owner
), moved AS (
    INSERT INTO marketdata_flow_moves AS known (source, target, rows, superseded)
    SELECT CASE WHEN _wins IS FALSE THEN %(number)s ELSE coalesce(_owner, 0) END,
           CASE WHEN _wins IS FALSE THEN _owner ELSE %(number)s END,
           sum(CASE WHEN _wins IS FALSE THEN 0 ELSE rows END), sum(CASE WHEN _owner IS NULL THEN 0 ELSE rows END)
    FROM judged WHERE _owner IS DISTINCT FROM %(number)s GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (source, target) DO UPDATE
    SET (rows, superseded) = (known.rows + EXCLUDED.rows, known.superseded + EXCLUDED.superseded)
)
SELECT coalesce(sum(rows) FILTER (WHERE _wins IS NOT FALSE), 0)::bigint,
       coalesce(bool_or(_owner = %(number)s AND _ahead < 0), false),
       coalesce(sum(CASE WHEN _owner = %(number)s AND _ahead = 0 THEN differing ELSE rows END) FILTER (WHERE _wins), 0),
       ARRAY(SELECT id FROM older) FROM judged

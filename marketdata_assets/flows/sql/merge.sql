-- Purpose: bring the staged rows of one file into {table}. A row of the same key is overwritten when it is of the same file,
--          or lower in the declared order, or equal there and of a file whose name sorts before: numbers in names
--          compare by value. Answers how many rows belong to the file now, and whether one has become lower.
-- Parameters: number, of the file.
-- Locks: the rows that it changes; the caller holds the locks of their keys.
WITH met AS MATERIALIZED (
    SELECT new.*, old.etl_unit AS _owner, {ahead} AS _ahead, {differs} AS _differs
    FROM {staging} AS new LEFT JOIN {table} AS old ON {same_key}
), owners AS MATERIALIZED ( -- each looked up by its number (LIMIT): other flows may have many units
    SELECT ids.id, unit COLLATE "C" AS unit,
           regexp_replace(regexp_replace(unit, '([0-9]+)', repeat('0', 20) || '\1', 'g'),
                          '[0-9]*([0-9]{{20}})', '\1', 'g') COLLATE "C" AS place
    FROM (SELECT %(number)s AS id UNION ALL SELECT DISTINCT _owner FROM met WHERE _owner <> %(number)s) AS ids
    LEFT JOIN LATERAL (SELECT unit FROM marketdata_flow_units AS units WHERE units.id = ids.id LIMIT 1) AS named ON true
), older AS MATERIALIZED (
    SELECT owners.id FROM owners JOIN owners AS own ON own.id = %(number)s
    WHERE owners.unit IS NULL OR (owners.place, owners.unit, owners.id) < (own.place, own.unit, own.id)
), judged AS MATERIALIZED (
    SELECT met.*, _owner = %(number)s OR _ahead > 0 OR (_ahead = 0 AND older.id IS NOT NULL) AS _wins
    FROM met LEFT JOIN older ON older.id = _owner
), updated AS (
    UPDATE {table} AS old SET {new} FROM judged AS new
    WHERE {same_key} AND _wins AND (_owner <> %(number)s OR _ahead <> 0 OR _differs)
), inserted AS (
    INSERT INTO {table} ({columns}) SELECT {columns} FROM judged WHERE _owner IS NULL
), moved AS (
    INSERT INTO marketdata_flow_moves AS known (source, target, rows, superseded)
    SELECT CASE WHEN _wins IS FALSE THEN %(number)s ELSE coalesce(_owner, 0) END,
           CASE WHEN _wins IS FALSE THEN _owner ELSE %(number)s END,
           count(*) FILTER (WHERE _wins IS NOT FALSE), count(_owner)
    FROM judged WHERE _owner IS DISTINCT FROM %(number)s GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (source, target) DO UPDATE
    SET (rows, superseded) = (known.rows + EXCLUDED.rows, known.superseded + EXCLUDED.superseded)
)
SELECT count(*) FILTER (WHERE _wins IS NOT FALSE),
       coalesce(bool_or(_owner = %(number)s AND _ahead < 0), false) FROM judged

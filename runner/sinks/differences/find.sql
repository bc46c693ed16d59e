-- DuckDB. Names in braces are filled with column numbers, conditions and names of our own making (find.py).

-- name: load
CREATE OR REPLACE TABLE {side} AS SELECT {columns} FROM ({rows});

-- name: twice
CREATE OR REPLACE TABLE twice AS SELECT {keys}, count(*) AS n FROM there GROUP BY ALL HAVING count(*) > 1;

-- name: differing
CREATE OR REPLACE TABLE differing AS
SELECT *{different} FROM (
    SELECT {joined}
    FROM (SELECT *, true AS here_too FROM here ANTI JOIN twice ON {here_twice}) AS here
    FULL OUTER JOIN (SELECT *, true AS there_too FROM there ANTI JOIN twice ON {there_twice}) AS there ON {same_key}
) AS joined
WHERE {any_different};

-- name: count
SELECT count(*) FROM {table} WHERE {condition};

-- name: here_of_twice
SELECT count(*) FROM here SEMI JOIN twice ON {same_key};

-- name: rows_twice
SELECT coalesce(sum(n), 0)::BIGINT FROM twice;

-- name: samples_twice
SELECT {keys}, n FROM twice ORDER BY ALL LIMIT {samples};

-- name: rewritten
-- Rows of both sides whose keys are one but for spaces and case.
CREATE OR REPLACE TABLE rewritten AS
SELECT m.id AS mine, t.id AS theirs, {keys}, {here} AS here, {there} AS there
FROM (SELECT rowid AS id, * FROM differing WHERE NOT there_too) AS m
JOIN (SELECT rowid AS id, * FROM differing WHERE NOT here_too) AS t ON {same};

-- name: samples_rewritten
SELECT {keys}, here, there FROM rewritten ORDER BY ALL LIMIT {samples};

-- name: samples_missing
SELECT {keys} FROM differing WHERE {condition} ORDER BY ALL LIMIT {samples};

-- name: cells
CREATE OR REPLACE TEMP TABLE cells AS SELECT {keys}, a{i} AS a, b{i} AS b, t{i} AS t FROM differing WHERE d{i};

-- name: explained
SELECT {counts} FROM cells;

-- name: sizes
SELECT size::VARCHAR, {words}, count(*)
FROM (SELECT a, {size} AS size FROM cells WHERE {rest})
WHERE size IS NOT NULL
GROUP BY size
HAVING count(*) >= {least} {varied}
ORDER BY 3 DESC, 1
LIMIT {sizes};

-- name: named
CREATE OR REPLACE TEMP TABLE named AS SELECT *, CASE {cases} ELSE {other} END AS pattern FROM cells;

-- name: groups
SELECT pattern, count(*) FROM named GROUP BY pattern ORDER BY 2 DESC, 1;

-- name: detail
SELECT {detail} FROM named WHERE pattern = {number};

-- name: samples_named
SELECT {keys}, {here}, t FROM named WHERE pattern = {number} ORDER BY {keys} LIMIT {samples};

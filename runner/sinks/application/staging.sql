-- DuckDB, over the table of rows that differ (runner/sinks/differences/find.py).

-- name: staged
SELECT CASE WHEN NOT there_too THEN 'insert' WHEN NOT here_too THEN 'delete' ELSE 'update' END AS op, {columns}
FROM differing;

-- name: keys
SELECT DISTINCT {columns} FROM ({rows});

-- name: values
SELECT DISTINCT a{i}::VARCHAR FROM differing WHERE here_too AND a{i} IS NOT NULL AND (d{i} OR NOT there_too);

-- An event store to try the runner on: 30,000 orders, and a function by which the shop goes on.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text NOT NULL,
    version integer NOT NULL,
    type text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (stream, version)
);

CREATE FUNCTION place_order(number bigint, placed timestamptz DEFAULT clock_timestamp()) RETURNS void LANGUAGE sql AS $$
    WITH facts AS (
        SELECT (ARRAY['EUR', 'USD', 'CZK'])[1 + number % 3] AS currency, (number % 9973) / 100.0 AS total
    )
    INSERT INTO events (stream, version, type, data, at)
    SELECT 'order-' || number, v, t, d, placed + v * interval '1 minute'
    FROM facts, LATERAL (VALUES
        (1, 'OrderPlaced', jsonb_build_object('currency', currency, 'total', total)),
        (2, CASE WHEN number % 10 = 0 THEN 'OrderCancelled' ELSE 'OrderPaid' END,
            jsonb_build_object('currency', currency, 'amount', total))
    ) AS e (v, t, d)
$$;

SELECT count(place_order(n, timestamptz '2026-01-01' + n * interval '10 minutes')) FROM generate_series(1, 30000) AS n;

CREATE SEQUENCE orders_placed START 30001;

-- The runner reads with SELECT alone, and writes read models in a schema of its own.
CREATE ROLE projections LOGIN PASSWORD :'projections_password';
GRANT USAGE ON SCHEMA public TO projections;
GRANT SELECT ON events TO projections;
CREATE SCHEMA reads AUTHORIZATION projections;
CREATE SCHEMA projection_runner AUTHORIZATION projections;

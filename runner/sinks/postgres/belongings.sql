-- All that hangs on a live table. Run with the table's schema as the search path: names in it are printed bare, so that
-- the same texts are true of a temporary table of the same name (a rehearsal) and of the new table once it has the name.
--
-- phase  create   right after the new table is made, before its rows
--        index    after its rows; detail holds the parts of a statement, for the index is to have another name
--        load     after its rows
--        before   in the switch, while the former table still has the name
--        switch   in the switch, when the new table has the name
--        after    in a transaction behind the switch
--        lock     what the switch locks besides the table; detail->>'of' is the relation
--        refuse   cannot be carried over; statement says why
-- {new} stands for the new table's name until it is live, %(relid)s is the live table.

-- name: belongings
WITH t AS (
    SELECT c.*, n.nspname, quote_ident(c.relname) AS live, quote_ident(%(new)s) AS new
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = %(relid)s
),
col AS (
    SELECT a.*, quote_ident(a.attname) AS name, a.attname::text = ANY(%(columns)s) AS stays
    FROM pg_attribute AS a WHERE a.attrelid = %(relid)s AND a.attnum > 0 AND NOT a.attisdropped
),
direct AS (
    SELECT DISTINCT m.oid, m.relname, m.relowner, m.reloptions, m.relacl, m.reltablespace, m.relispopulated, n.nspname, format('%%I.%%I', n.nspname, m.relname) AS name
    FROM pg_depend AS d
    JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class AS m ON m.oid = r.ev_class AND m.relkind = 'm'
    JOIN pg_namespace AS n ON n.oid = m.relnamespace
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(relid)s
),
dependent AS (
    SELECT d.classid, d.objid, d.deptype
    FROM (SELECT t.oid FROM t UNION SELECT m.oid FROM direct AS m) AS r
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
    UNION
    SELECT d.classid, d.objid, d.deptype
    FROM (SELECT t.reltype AS oid FROM t UNION SELECT y.typarray FROM t JOIN pg_type AS y ON y.oid = t.reltype) AS r
    JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = r.oid
),
view AS (
    SELECT DISTINCT v.oid, v.relkind, v.relowner, v.reloptions, format('%%I.%%I', n.nspname, v.relname) AS name
    FROM dependent AS d
    JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class AS v ON v.oid = r.ev_class
    JOIN pg_namespace AS n ON n.oid = v.relnamespace
    WHERE v.oid <> %(relid)s
),
foreign_key AS (
    SELECT k.*, format('%%I.%%I', n.nspname, o.relname) AS other, o.relowner AS owner, o.relkind
    FROM pg_constraint AS k
    JOIN pg_class AS o ON o.oid = k.conrelid
    JOIN pg_namespace AS n ON n.oid = o.relnamespace
    WHERE k.contype = 'f' AND k.confrelid = %(relid)s AND k.conrelid <> %(relid)s AND k.conparentid = 0
),
foreign_policy AS (
    SELECT p.*, format('%%I.%%I', n.nspname, o.relname) AS other, o.relowner AS owner
    FROM dependent AS d
    JOIN pg_policy AS p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    JOIN pg_class AS o ON o.oid = p.polrelid
    JOIN pg_namespace AS n ON n.oid = o.relnamespace
    WHERE p.polrelid <> %(relid)s
),
sequence AS (
    SELECT s.oid, format('%%I.%%I', n.nspname, s.relname) AS name, a.name AS column, a.attname, a.stays, d.deptype
    FROM pg_depend AS d
    JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_namespace AS n ON n.oid = s.relnamespace
    JOIN col AS a ON a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(relid)s
        AND d.deptype IN ('a', 'i')
),
own_index AS (
    SELECT i.*, x.relname, quote_ident(x.relname) AS name, k.conname, k.contype
    FROM pg_index AS i
    JOIN pg_class AS x ON x.oid = i.indexrelid
    LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = %(relid)s
),
publication AS (
    SELECT p.pubname, p.pubowner, quote_ident(p.pubname) AS name, pr.prqual, pr.prrelid,
        (SELECT string_agg(a.name, ', ' ORDER BY a.attnum) FROM col AS a WHERE a.attnum = ANY(pr.prattrs)) AS columns
    FROM pg_publication_rel AS pr JOIN pg_publication AS p ON p.oid = pr.prpubid WHERE pr.prrelid = %(relid)s
),
-- Storage and statistics of columns, before rows come.
made AS (
    SELECT 10 AS ord, 'create' AS phase, 'statistics target of column ' || a.attname AS name,
        format('ALTER TABLE %%s ALTER COLUMN %%s SET STATISTICS %%s', t.new, a.name, a.attstattarget) AS statement,
        NULL::jsonb AS detail
    FROM t, col AS a WHERE a.stays AND a.attstattarget >= 0
    UNION ALL
    SELECT 11, 'create', 'storage of column ' || a.attname,
        format('ALTER TABLE %%s ALTER COLUMN %%s SET STORAGE %%s', t.new, a.name, CASE a.attstorage
            WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END), NULL
    FROM t, col AS a JOIN pg_type AS y ON y.oid = a.atttypid WHERE a.stays AND a.attstorage <> y.typstorage
    UNION ALL
    SELECT 12, 'create', 'compression of column ' || a.attname,
        format('ALTER TABLE %%s ALTER COLUMN %%s SET COMPRESSION %%s', t.new, a.name,
            CASE a.attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END), NULL
    FROM t, col AS a WHERE a.stays AND a.attcompression <> ''
    UNION ALL
    SELECT 13, 'create', 'options of column ' || a.attname,
        format('ALTER TABLE %%s ALTER COLUMN %%s SET (%%s)', t.new, a.name, array_to_string(a.attoptions, ', ')), NULL
    FROM t, col AS a WHERE a.stays AND a.attoptions IS NOT NULL
    UNION ALL
    SELECT 14, 'create', 'tablespace ' || s.spcname, format('ALTER TABLE %%s SET TABLESPACE %%I', t.new, s.spcname),
        '{{"rehearsed": false}}'
    FROM t JOIN pg_tablespace AS s ON s.oid = t.reltablespace
    UNION ALL
    SELECT 15, 'create', 'unlogged', format('ALTER TABLE %%s SET UNLOGGED', t.new), '{{"rehearsed": false}}'
    FROM t WHERE t.relpersistence = 'u'
),
-- Constraints and indexes, behind the rows.
loaded AS (
    SELECT 20, 'load', 'NOT NULL of column ' || a.attname,
        format('ALTER TABLE %%s ALTER COLUMN %%s SET NOT NULL', t.new, a.name), jsonb_build_object('not_null', a.attname)
    FROM t, col AS a WHERE a.stays AND a.attnotnull AND NOT a.attname::text = ANY(%(required)s)
    UNION ALL
    SELECT 21, 'load', 'CHECK ' || k.conname,
        format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', t.new, k.conname, pg_get_constraintdef(k.oid)),
        jsonb_build_object('constraint', k.conname)
    FROM t, pg_constraint AS k WHERE k.conrelid = t.oid AND k.contype = 'c'
    UNION ALL
    SELECT 22, 'load', 'foreign key ' || k.conname,
        format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s%%s', t.new, k.conname, pg_get_constraintdef(k.oid),
            CASE WHEN k.convalidated THEN ' NOT VALID' ELSE '' END),
        jsonb_build_object('rehearsed', false, 'constraint', k.conname, 'validate', k.convalidated,
            'refers', k.confrelid::bigint)
    FROM t, pg_constraint AS k WHERE k.conrelid = t.oid AND k.contype = 'f' AND k.confrelid <> t.oid
    UNION ALL
    SELECT 23, 'index', CASE WHEN i.conname IS NULL THEN 'index ' ELSE 'constraint ' END || i.relname,
        CASE WHEN i.conname IS NULL THEN pg_get_indexdef(i.indexrelid)
            ELSE pg_get_constraintdef((SELECT k.oid FROM pg_constraint AS k
                WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x'))) END,
        jsonb_build_object('kind', CASE WHEN i.conname IS NULL THEN 'index' ELSE 'constraint' END, 'name', i.relname,
            'unique', i.indisunique, 'prefix', format('CREATE %%sINDEX %%s ON %%s ',
                CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, i.name, t.nspname_dot || t.live))
    FROM (SELECT t.*, quote_ident(t.nspname) || '.' AS nspname_dot FROM t) AS t, own_index AS i
    UNION ALL
    SELECT 24, 'index', 'statistics ' || s.stxname, pg_get_statisticsobjdef(s.oid),
        jsonb_build_object('kind', 'statistics', 'name', s.stxname,
            'prefix', format('CREATE STATISTICS %%I.%%I ', n.nspname, s.stxname),
            'suffix', format(' FROM %%s', s.stxrelid::regclass))
    FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace WHERE s.stxrelid = %(relid)s
),
-- In the switch.
leaving AS (
    SELECT 30, 'before', 'publication ' || p.pubname, format('ALTER PUBLICATION %%s DROP TABLE %%s', p.name, t.live),
        '{{"rehearsed": false}}'::jsonb
    FROM t, publication AS p
    UNION ALL
    SELECT 31, 'before', format('foreign key %%s of %%s', k.conname, k.other),
        format('ALTER TABLE %%s DROP CONSTRAINT %%I', k.other, k.conname), '{{"rehearsed": false}}'
    FROM foreign_key AS k
    UNION ALL
    SELECT 40, 'switch', 'owner', format('ALTER TABLE %%s OWNER TO %%I', t.live, pg_get_userbyid(t.relowner)),
        '{{"rehearsed": false}}'
    FROM t
    UNION ALL
    SELECT 41, 'switch', 'grants', format('GRANT %%s ON TABLE %%s TO %%s%%s', g.privilege_type, t.live,
            CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
            CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '{{"rehearsed": false}}'
    FROM t, aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) AS g
    UNION ALL
    SELECT 42, 'switch', 'grants on column ' || a.attname, format('GRANT %%s (%%s) ON TABLE %%s TO %%s%%s',
            g.privilege_type, a.name, t.live,
            CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
            CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '{{"rehearsed": false}}'
    FROM t, col AS a, aclexplode(a.attacl) AS g WHERE a.stays
    UNION ALL
    SELECT 43, 'switch', 'comment', format('COMMENT ON TABLE %%s IS %%L', t.live, obj_description(t.oid, 'pg_class')), NULL
    FROM t
    UNION ALL
    SELECT 44, 'switch', 'comment on column ' || a.attname,
        format('COMMENT ON COLUMN %%s.%%s IS %%L', t.live, a.name, col_description(t.oid, a.attnum)), NULL
    FROM t, col AS a WHERE a.stays AND col_description(t.oid, a.attnum) IS NOT NULL
    UNION ALL
    SELECT 45, 'switch', 'storage parameters', format('ALTER TABLE %%s SET (%%s)', t.live, (
            SELECT string_agg(format('%%s=%%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ')
            FROM unnest(t.reloptions || ARRAY(SELECT 'toast.' || x
                FROM pg_class AS toast, unnest(toast.reloptions) AS x WHERE toast.oid = t.reltoastrelid)) AS o)), NULL
    FROM t WHERE t.reloptions IS NOT NULL
        OR EXISTS (SELECT FROM pg_class AS toast WHERE toast.oid = t.reltoastrelid AND toast.reloptions IS NOT NULL)
    UNION ALL
    SELECT 46, 'switch', 'default of column ' || a.attname,
        format('ALTER TABLE %%s ALTER COLUMN %%s SET DEFAULT %%s', t.live, a.name, pg_get_expr(d.adbin, d.adrelid)), NULL
    FROM t, col AS a JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.stays AND a.attgenerated = ''
    UNION ALL
    SELECT 47, 'switch', 'sequence ' || s.name, format('ALTER SEQUENCE %%s OWNED BY %%s.%%s', s.name, t.live, s.column),
        '{{"rehearsed": false}}'
    FROM t, sequence AS s WHERE s.deptype = 'a' AND s.stays
    UNION ALL
    SELECT 48, 'switch', 'row-level security', format('ALTER TABLE %%s %%s ROW LEVEL SECURITY, %%s ROW LEVEL SECURITY', t.live,
            CASE WHEN t.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END,
            CASE WHEN t.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END), NULL
    FROM t
    UNION ALL
    SELECT 49, 'switch', 'policy ' || p.polname, format('CREATE POLICY %%I ON %%s AS %%s FOR %%s TO %%s%%s%%s', p.polname,
            t.live, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                ELSE 'ALL' END,
            (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
                FROM unnest(p.polroles) AS r),
            coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''),
            coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')), NULL
    FROM t, pg_policy AS p WHERE p.polrelid = t.oid
    UNION ALL
    SELECT 50, 'switch', 'comment on policy ' || p.polname,
        format('COMMENT ON POLICY %%I ON %%s IS %%L', p.polname, t.live, obj_description(p.oid, 'pg_policy')), NULL
    FROM t, pg_policy AS p WHERE p.polrelid = t.oid AND obj_description(p.oid, 'pg_policy') IS NOT NULL
    UNION ALL
    SELECT 51, 'switch', 'trigger ' || g.tgname, pg_get_triggerdef(g.oid, true) || CASE g.tgenabled WHEN 'O' THEN '' ELSE
            format('; ALTER TABLE %%s %%s TRIGGER %%I', t.live, CASE g.tgenabled WHEN 'D' THEN 'DISABLE'
                WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, g.tgname) END, NULL
    FROM t, pg_trigger AS g WHERE g.tgrelid = t.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT 52, 'switch', 'comment on trigger ' || g.tgname,
        format('COMMENT ON TRIGGER %%I ON %%s IS %%L', g.tgname, t.live, obj_description(g.oid, 'pg_trigger')), NULL
    FROM t, pg_trigger AS g
    WHERE g.tgrelid = t.oid AND NOT g.tgisinternal AND obj_description(g.oid, 'pg_trigger') IS NOT NULL
    UNION ALL
    SELECT 53, 'switch', 'rule ' || r.rulename, rtrim(pg_get_ruledef(r.oid, true), ';') || CASE r.ev_enabled WHEN 'O' THEN '' ELSE
            format('; ALTER TABLE %%s %%s RULE %%I', t.live, CASE r.ev_enabled WHEN 'D' THEN 'DISABLE'
                WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, r.rulename) END, NULL
    FROM t, pg_rewrite AS r WHERE r.ev_class = t.oid
    UNION ALL
    SELECT 54, 'switch', 'comment on constraint ' || k.conname,
        format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', k.conname, t.live, obj_description(k.oid, 'pg_constraint')),
        jsonb_build_object('rehearsed', k.contype = 'c')
    FROM t, pg_constraint AS k WHERE k.conrelid = t.oid AND obj_description(k.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT 55, 'switch', 'comment on index ' || i.relname,
        format('COMMENT ON INDEX %%s IS %%L', i.name, obj_description(i.indexrelid, 'pg_class')), '{{"rehearsed": false}}'
    FROM own_index AS i WHERE obj_description(i.indexrelid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 56, 'switch', 'comment on statistics ' || s.stxname, format('COMMENT ON STATISTICS %%I.%%I IS %%L', n.nspname,
            s.stxname, obj_description(s.oid, 'pg_statistic_ext')), '{{"rehearsed": false}}'
    FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
    WHERE s.stxrelid = %(relid)s AND obj_description(s.oid, 'pg_statistic_ext') IS NOT NULL
    UNION ALL
    SELECT 57, 'switch', 'clustering by index ' || i.relname, format('ALTER TABLE %%s CLUSTER ON %%s', t.live, i.name),
        '{{"rehearsed": false}}'
    FROM t, own_index AS i WHERE i.indisclustered
    UNION ALL
    SELECT 58, 'switch', 'replica identity', format('ALTER TABLE %%s REPLICA IDENTITY %%s', t.live, CASE t.relreplident
            WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL' WHEN 'i' THEN
            'USING INDEX ' || (SELECT i.name FROM own_index AS i WHERE i.indisreplident) ELSE 'DEFAULT' END),
        '{{"rehearsed": false}}'
    FROM t
    UNION ALL
    SELECT 59, 'switch', 'publication ' || p.pubname, format('ALTER PUBLICATION %%s ADD TABLE ONLY %%s%%s%%s', p.name, t.live,
            coalesce(' (' || p.columns || ')', ''), coalesce(' WHERE (' || pg_get_expr(p.prqual, p.prrelid) || ')', '')),
        '{{"rehearsed": false}}'
    FROM t, publication AS p
    UNION ALL
    SELECT 60, 'switch', format('foreign key %%s of %%s', k.conname, k.other),
        format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s%%s', k.other, k.conname, pg_get_constraintdef(k.oid),
            CASE WHEN k.convalidated THEN ' NOT VALID' ELSE '' END), '{{"rehearsed": false}}'
    FROM foreign_key AS k
    UNION ALL
    SELECT 61, 'switch', format('policy %%s of %%s', p.polname, p.other),
        format('ALTER POLICY %%I ON %%s%%s%%s', p.polname, p.other,
            coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''),
            coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')), '{{"rehearsed": false}}'
    FROM foreign_policy AS p
    UNION ALL
    SELECT 62, 'switch', 'view ' || v.name, format('CREATE OR REPLACE VIEW %%s%%s AS %%s', v.name,
            CASE WHEN v.reloptions IS NULL THEN '' ELSE ' WITH (' || array_to_string(v.reloptions, ', ') || ')' END,
            rtrim(pg_get_viewdef(v.oid), ';')),
        jsonb_build_object('view', v.oid::bigint, 'query', rtrim(pg_get_viewdef(v.oid), ';'))
    FROM view AS v WHERE v.relkind = 'v'
    UNION ALL
    SELECT 61, 'matview', 'materialised view ' || m.name, '', jsonb_build_object('view', m.oid::bigint,
        'query', rtrim(pg_get_viewdef(m.oid), ';'), 'schema', m.nspname, 'name', m.relname, 'populated', m.relispopulated,
        'owner', pg_get_userbyid(m.relowner), 'options', array_to_string(m.reloptions, ', '),
        'tablespace', (SELECT s.spcname FROM pg_tablespace AS s WHERE s.oid = m.reltablespace),
        'indexes', (SELECT jsonb_agg(jsonb_build_object('statement', pg_get_indexdef(i.indexrelid), 'kind', 'index',
                'name', x.relname, 'unique', i.indisunique, 'prefix', format('CREATE %%sINDEX %%I ON %%s ',
                    CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, x.relname, m.name)))
            FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = m.oid),
        'statements', (SELECT jsonb_agg(x.statement) FROM (
            SELECT format('GRANT %%s ON TABLE %%s TO %%s%%s', g.privilege_type, m.name,
                CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
            FROM aclexplode(m.relacl) AS g
            UNION ALL
            SELECT format('GRANT %%s (%%I) ON TABLE %%s TO %%s', g.privilege_type, a.attname, m.name,
                CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
            FROM pg_attribute AS a, aclexplode(a.attacl) AS g WHERE a.attrelid = m.oid
            UNION ALL
            SELECT format('COMMENT ON MATERIALIZED VIEW %%s IS %%L', m.name, obj_description(m.oid, 'pg_class'))
            UNION ALL
            SELECT format('COMMENT ON COLUMN %%s.%%I IS %%L', m.name, a.attname, col_description(m.oid, a.attnum))
            FROM pg_attribute AS a WHERE a.attrelid = m.oid AND col_description(m.oid, a.attnum) IS NOT NULL
            UNION ALL
            SELECT format('ALTER MATERIALIZED VIEW %%s ALTER COLUMN %%I SET STATISTICS %%s', m.name, a.attname, a.attstattarget)
            FROM pg_attribute AS a WHERE a.attrelid = m.oid AND a.attnum > 0 AND a.attstattarget >= 0
        ) AS x))
    FROM direct AS m
    UNION ALL
    SELECT 63, 'switch', 'function ' || f.oid::regprocedure, pg_get_functiondef(f.oid), '{{"rehearsed": false}}'
    FROM dependent AS d JOIN pg_proc AS f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
    WHERE f.prosqlbody IS NOT NULL
    UNION ALL
    SELECT 70, 'after', format('foreign key %%s of %%s', k.conname, k.other),
        format('ALTER TABLE %%s VALIDATE CONSTRAINT %%I', k.other, k.conname), NULL
    FROM foreign_key AS k WHERE k.convalidated
    UNION ALL
    SELECT 71, 'foreign', format('foreign key %%s of %%s', k.conname, k.other), format(
            'SELECT EXISTS (SELECT FROM %%s AS o WHERE %%s AND NOT EXISTS (SELECT FROM %%s AS n WHERE %%s))', k.other,
            string_agg(format('o.%%I IS NOT NULL', o.attname), ' AND '), t.new,
            string_agg(format('n.%%I = o.%%I', n.attname, o.attname), ' AND ')),
        jsonb_build_object('columns', array_agg(n.attname ORDER BY n.attname),
            'index', (SELECT x.relname FROM pg_class AS x WHERE x.oid = k.conindid))
    FROM t, foreign_key AS k
    CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair (own, its)
    JOIN pg_attribute AS o ON o.attrelid = k.conrelid AND o.attnum = pair.own
    JOIN pg_attribute AS n ON n.attrelid = k.confrelid AND n.attnum = pair.its
    GROUP BY k.oid, k.conname, k.other, t.new, k.conindid
),
locks AS (
    SELECT 80, 'lock', v.name, format('ALTER VIEW %%s OWNER TO %%I', v.name, pg_get_userbyid(v.relowner)),
        jsonb_build_object('of', v.oid::bigint)
    FROM view AS v WHERE v.relkind = 'v'
    UNION ALL
    SELECT 80, 'lock', m.name, format('ALTER MATERIALIZED VIEW %%s OWNER TO %%I', m.name, pg_get_userbyid(m.relowner)),
        jsonb_build_object('of', m.oid::bigint)
    FROM direct AS m
    UNION ALL
    SELECT DISTINCT 81, 'lock', o.other, format('LOCK TABLE ONLY %%s IN ACCESS EXCLUSIVE MODE', o.other),
        jsonb_build_object('of', o.relation::bigint)
    FROM (SELECT k.other, k.conrelid AS relation FROM foreign_key AS k
        UNION ALL SELECT p.other, p.polrelid FROM foreign_policy AS p) AS o
),
-- What cannot be carried over.
refused AS (
    SELECT 90, 'refuse', 'the table', format('it belongs to %%I; GRANT %%I TO %%I', pg_get_userbyid(t.relowner),
            pg_get_userbyid(t.relowner), current_user), NULL::jsonb
    FROM t WHERE NOT pg_has_role(t.relowner, 'USAGE')
    UNION ALL
    SELECT 90, 'refuse', 'the table', 'it is ' || CASE t.relkind WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'a view'
            WHEN 'm' THEN 'a materialised view' WHEN 'f' THEN 'a foreign table' ELSE 'no table' END, NULL
    FROM t WHERE t.relkind <> 'r'
    UNION ALL
    SELECT 90, 'refuse', 'the table', 'it inherits from another table, or another from it; undo that with NO INHERIT', NULL
    FROM t WHERE t.relispartition OR EXISTS (
        SELECT FROM pg_inherits AS i WHERE i.inhrelid = t.oid OR (i.inhparent = t.oid))
    UNION ALL
    SELECT 90, 'refuse', 'row-level security', format('it is forced on the owner too, so that the runner would not see all rows; '
            'ALTER ROLE %%I BYPASSRLS, or ALTER TABLE %%I.%%s NO FORCE ROW LEVEL SECURITY', current_user, t.nspname, t.live), NULL
    FROM t WHERE t.relrowsecurity AND t.relforcerowsecurity
        AND NOT (SELECT r.rolbypassrls OR r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user)
    UNION ALL
    SELECT 91, 'refuse', 'column ' || a.attname, 'it was added by hand and would be lost; drop it, or make it a field', NULL
    FROM col AS a WHERE NOT a.attname::text = ANY(%(known)s)
    UNION ALL
    SELECT 91, 'refuse', 'column ' || a.attname, format('its type was changed by hand from %%s to %%s; change it back',
            %(types)s::jsonb ->> a.attname, format_type(a.atttypid, a.atttypmod)), NULL
    FROM col AS a WHERE a.attname::text = ANY(%(known)s)
        AND (%(types)s::jsonb ->> a.attname)::text <> format_type(a.atttypid, a.atttypmod)
    UNION ALL
    SELECT 91, 'refuse', 'column ' || a.attname, 'it is an identity or generated column; ALTER COLUMN ... DROP IDENTITY', NULL
    FROM col AS a WHERE a.attidentity <> '' OR a.attgenerated <> ''
    UNION ALL
    SELECT 92, 'refuse', 'sequence ' || s.name, format('it is owned by column %%s, which the new version has not; OWNED BY NONE',
            s.attname), NULL
    FROM sequence AS s WHERE s.deptype = 'a' AND NOT s.stays
    UNION ALL
    SELECT 92, 'refuse', 'foreign key ' || k.conname, 'it refers to the table itself', NULL
    FROM pg_constraint AS k WHERE k.contype = 'f' AND k.conrelid = %(relid)s AND k.confrelid = %(relid)s
    UNION ALL
    SELECT 92, 'refuse', 'index ' || i.relname, 'it is not valid; drop it, or REINDEX it', NULL
    FROM own_index AS i WHERE NOT i.indisvalid
    UNION ALL
    SELECT 92, 'refuse', 'foreign key ' || k.conname || ' of ' || k.other,
        format('%%s belongs to %%I; GRANT %%I TO %%I', k.other, pg_get_userbyid(k.owner), pg_get_userbyid(k.owner), current_user), NULL
    FROM foreign_key AS k WHERE NOT pg_has_role(k.owner, 'USAGE')
    UNION ALL
    SELECT 92, 'refuse', 'foreign key ' || k.conname || ' of ' || k.other,
        'that is a partitioned table, whose rows would be looked through under the lock; drop it before, and make it again after',
        NULL
    FROM foreign_key AS k WHERE k.relkind = 'p'
    UNION ALL
    SELECT 92, 'refuse', 'statistics ' || s.stxname, format('they are in another schema; SET SCHEMA %%I', t.nspname), NULL
    FROM t, pg_statistic_ext AS s WHERE s.stxrelid = t.oid AND s.stxnamespace <> t.relnamespace
    UNION ALL
    SELECT 92, 'refuse', 'function ' || f.oid::regprocedure,
        format('it belongs to %%I; GRANT %%I TO %%I', pg_get_userbyid(f.proowner), pg_get_userbyid(f.proowner), current_user), NULL
    FROM dependent AS d JOIN pg_proc AS f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
    WHERE f.prosqlbody IS NOT NULL AND NOT pg_has_role(f.proowner, 'USAGE')
    UNION ALL
    SELECT 92, 'refuse', 'policy ' || p.polname || ' of ' || p.other,
        format('%%s belongs to %%I; GRANT %%I TO %%I', p.other, pg_get_userbyid(p.owner), pg_get_userbyid(p.owner), current_user), NULL
    FROM foreign_policy AS p WHERE NOT pg_has_role(p.owner, 'USAGE')
    UNION ALL
    SELECT 92, 'refuse', 'publication ' || p.pubname,
        format('it belongs to %%I; GRANT %%I TO %%I', pg_get_userbyid(p.pubowner), pg_get_userbyid(p.pubowner), current_user), NULL
    FROM publication AS p WHERE NOT pg_has_role(p.pubowner, 'USAGE')
    UNION ALL
    SELECT 93, 'refuse', 'view ' || v.name,
        format('it belongs to %%I; GRANT %%I TO %%I', pg_get_userbyid(v.relowner), pg_get_userbyid(v.relowner), current_user), NULL
    FROM view AS v WHERE v.relkind IN ('v', 'm') AND NOT pg_has_role(v.relowner, 'USAGE')
    UNION ALL
    SELECT 93, 'refuse', CASE v.relkind WHEN 'm' THEN 'materialised view ' ELSE 'a rule of ' END || v.name,
        'it reads the table and cannot be pointed to another; drop it before, and make it again after', NULL
    FROM view AS v WHERE v.relkind <> 'v' AND v.oid NOT IN (SELECT m.oid FROM direct AS m)
    UNION ALL
    SELECT 94, 'refuse', 'security label of ' || l.provider, 'it is not carried over; remove it', NULL
    FROM pg_seclabel AS l WHERE l.classoid = 'pg_class'::regclass AND l.objoid = %(relid)s
    UNION ALL
    SELECT 94, 'refuse', pg_describe_object(d.refclassid, d.refobjid, 0), 'the table is a part of it', NULL
    FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = %(relid)s AND d.deptype = 'e'
    UNION ALL
    SELECT 95, 'refuse', pg_describe_object(d.classid, d.objid, 0),
        'it is bound to the table and would stay with the former one; drop it before, and make it again after', NULL
    FROM dependent AS d, t
    WHERE NOT (
        (d.classid = 'pg_type'::regclass AND d.deptype = 'i')
        OR (d.classid = 'pg_rewrite'::regclass)
        OR (d.classid = 'pg_policy'::regclass)
        OR (d.classid = 'pg_constraint'::regclass)
        OR (d.classid = 'pg_trigger'::regclass)
        OR (d.classid = 'pg_statistic_ext'::regclass)
        OR (d.classid = 'pg_publication_rel'::regclass)
        OR (d.classid = 'pg_attrdef'::regclass AND EXISTS (
            SELECT FROM pg_attrdef AS x WHERE x.oid = d.objid AND x.adrelid = t.oid))
        OR (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class AS x WHERE x.oid = d.objid
            AND (x.relkind IN ('i', 't', 'I') OR (x.relkind = 'S' AND d.deptype IN ('a', 'i')))))
        OR (d.classid = 'pg_proc'::regclass AND EXISTS (SELECT FROM pg_proc AS x
            WHERE x.oid = d.objid AND x.prosqlbody IS NOT NULL AND NOT EXISTS (
                SELECT FROM pg_depend AS y WHERE y.classid = d.classid AND y.objid = d.objid
                    AND y.refclassid = 'pg_type'::regclass AND y.refobjid IN (t.reltype,
                        (SELECT z.typarray FROM pg_type AS z WHERE z.oid = t.reltype)))))
    )
)
SELECT * FROM made UNION ALL SELECT * FROM loaded UNION ALL SELECT * FROM leaving UNION ALL SELECT * FROM locks
UNION ALL SELECT * FROM refused
ORDER BY 1, 3, 4;

-- name: stripped
-- What a table that comes into use again had when it was live before, and what a new one was given by default.
SELECT format('DROP POLICY %%I ON %%s', p.polname, p.polrelid::regclass) FROM pg_policy AS p WHERE p.polrelid = %(relid)s
UNION ALL
SELECT format('DROP TRIGGER %%I ON %%s', g.tgname, g.tgrelid::regclass)
FROM pg_trigger AS g WHERE g.tgrelid = %(relid)s AND NOT g.tgisinternal
UNION ALL
SELECT format('DROP RULE %%I ON %%s', r.rulename, r.ev_class::regclass) FROM pg_rewrite AS r WHERE r.ev_class = %(relid)s
UNION ALL
SELECT format('ALTER TABLE %%s ALTER COLUMN %%I DROP DEFAULT', a.attrelid::regclass, a.attname)
FROM pg_attribute AS a WHERE a.attrelid = %(relid)s AND a.atthasdef AND a.attgenerated = ''
UNION ALL
SELECT DISTINCT format('REVOKE ALL ON TABLE %%s FROM %%s CASCADE', c.oid::regclass,
    CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)) || ARRAY(
    SELECT x FROM pg_attribute AS a, unnest(a.attacl) AS x WHERE a.attrelid = c.oid)) AS g
WHERE c.oid = %(relid)s
UNION ALL
SELECT format('ALTER TABLE %%s RESET (%%s)', c.oid::regclass, (SELECT string_agg(split_part(o, '=', 1), ', ')
    FROM unnest(c.reloptions) AS o))
FROM pg_class AS c WHERE c.oid = %(relid)s AND c.reloptions IS NOT NULL
UNION ALL
SELECT format('ALTER PUBLICATION %%I DROP TABLE %%s', p.pubname, r.prrelid::regclass)
FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid WHERE r.prrelid = %(relid)s;

-- name: left_behind
-- Whatever of others still reads the former table.
SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ')
FROM pg_depend AS d
LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_policy AS p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(relid)s
    AND ((r.oid IS NOT NULL AND r.ev_class <> %(relid)s) OR (p.oid IS NOT NULL AND p.polrelid <> %(relid)s)
        OR (k.oid IS NOT NULL AND k.conrelid <> %(relid)s) OR d.classid = 'pg_proc'::regclass);

-- name: over
-- Materialised views that were made over a table that is not live.
SELECT DISTINCT n.nspname, c.relname, c.relispopulated
FROM pg_depend AS d
JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
JOIN pg_class AS c ON c.oid = r.ev_class AND c.relkind = 'm'
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(relid)s;

-- name: default_grants
-- What others were given on a relation that was made just now.
SELECT DISTINCT format('REVOKE ALL ON TABLE %%I.%%I FROM %%s', n.nspname, c.relname,
    CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS g
WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND g.grantee <> c.relowner;

-- name: indexes_of
SELECT x.relname FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s;

-- name: view_columns
SELECT array_agg((a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation)::text ORDER BY a.attnum)
FROM pg_attribute AS a WHERE a.attrelid = %(relid)s AND a.attnum > 0;

-- name: live_table
-- Whatever has the name, and whether the runner made it.
SELECT c.oid, t.version, t.columns, t.own, t.read_model
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN projection_runner.tables AS t ON t.relid = c.oid
WHERE n.nspname = %(schema)s AND c.relname = %(name)s;

-- name: constraints
SELECT k.conname, k.convalidated FROM pg_constraint AS k WHERE k.conrelid = %(relid)s;

-- name: not_null
SELECT a.attname FROM pg_attribute AS a
WHERE a.attrelid = %(relid)s AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped;

-- name: own_names
-- Indexes and statistics of a table: name, and whether it is an index.
SELECT c.relname, true FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = %(relid)s
UNION ALL
SELECT s.stxname, false FROM pg_statistic_ext AS s WHERE s.stxrelid = %(relid)s
ORDER BY 2, 1;

-- name: rights
SELECT pg_catalog.current_setting('server_version_num')::integer,
    (SELECT n.oid IS NOT NULL FROM pg_namespace AS n WHERE n.nspname = %(schema)s),
    coalesce((SELECT has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE')
        FROM pg_namespace AS n WHERE n.nspname = %(schema)s), false),
    has_database_privilege(current_database(), 'TEMPORARY'),
    has_database_privilege(current_database(), 'CREATE'),
    (SELECT has_schema_privilege(n.oid, 'CREATE') FROM pg_namespace AS n WHERE n.nspname = 'projection_runner'),
    CASE WHEN to_regclass('projection_runner.tables') IS NULL THEN NULL
        ELSE has_table_privilege('projection_runner.tables', 'SELECT') AND has_table_privilege('projection_runner.tables', 'INSERT')
            AND has_table_privilege('projection_runner.tables', 'UPDATE')
            AND has_table_privilege('projection_runner.tables', 'DELETE') END,
    quote_ident(current_user), quote_ident(current_database()), quote_ident(%(schema)s);

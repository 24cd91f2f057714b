package pgtables

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go"
)

// Every query has the oids of the tables as $1. The names that they read have their
// schema, because the search path is empty.
const (
	selectTables = `SELECT c.oid::int8, c.relkind::text, c.relpersistence::text, pg_catalog.row_security_active(c.oid),
		EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a(id) WHERE a.id <> c.oid AND a.id = ANY($1::oid[])),
		pg_catalog.current_setting('server_version_num')::int4
		FROM pg_catalog.pg_class c WHERE c.oid = ANY($1::oid[])`

	selectColumns = `SELECT a.attrelid::int8, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
		CASE WHEN a.attgenerated = '' THEN '' ELSE a.attgenerated::text || ' ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
		CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text ELSE '' END, a.attcollation <> 0
		FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
		LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated <> ''
		WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

	selectKeys = `SELECT i.indrelid::int8, a.attname FROM pg_catalog.pg_index i
		CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY k(n, o)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
		WHERE i.indisprimary AND i.indrelid = ANY($1::oid[]) AND k.o <= i.indnkeyatts ORDER BY i.indrelid, k.o`

	selectConstraints = `SELECT c.conrelid::int8 AS tab, c.conname AS name, pg_catalog.pg_get_constraintdef(c.oid)
		FROM pg_catalog.pg_constraint c WHERE c.conrelid = ANY($1::oid[]) AND c.contype IN ('p', 'u', 'f', 'c', 'x')
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint p WHERE p.oid = c.conparentid AND p.conrelid = c.conrelid)
		UNION ALL SELECT i.indrelid::int8, ic.relname, pg_catalog.pg_get_indexdef(i.indexrelid)
		FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
		WHERE i.indisunique AND i.indrelid = ANY($1::oid[])
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.conindid = i.indexrelid AND c.conrelid = i.indrelid)
		ORDER BY tab, name`

	selectTypes = `WITH RECURSIVE used(id) AS (
		SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
		UNION SELECT x.id FROM used u JOIN pg_catalog.pg_type t ON t.oid = u.id CROSS JOIN LATERAL (
			SELECT t.typelem UNION ALL SELECT t.typbasetype
			UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) x(id) WHERE x.id <> 0)
		SELECT pg_catalog.format_type(t.oid, NULL) AS name, CASE t.typtype
			WHEN 'e' THEN 'enum ' || (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
			WHEN 'd' THEN 'domain ' || pg_catalog.format_type(t.typbasetype, t.typtypmod) || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
				|| coalesce((SELECT pg_catalog.string_agg(' ' || pg_catalog.pg_get_constraintdef(c.oid), '' ORDER BY c.conname) FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'), '')
			ELSE 'row ' || coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
				FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '')
		END FROM used u JOIN pg_catalog.pg_type t ON t.oid = u.id
		WHERE t.typtype IN ('e', 'd', 'c') AND t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace ORDER BY pg_catalog.format_type(t.oid, NULL) COLLATE "C"`

	// A sequence is shared when a column of another table owns it or has it as default.
	selectSequences = `WITH uses AS (
		SELECT d.objid AS seq, d.refobjid AS tab FROM pg_catalog.pg_depend d
		WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
		UNION SELECT d.refobjid, ad.adrelid FROM pg_catalog.pg_attrdef ad
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = ad.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass)
		SELECT n.nspname, s.relname, q.seqincrement, EXISTS (SELECT FROM uses o WHERE o.seq = s.oid AND o.tab <> ALL($1::oid[])
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(o.tab) a(id) WHERE a.id = ANY($1::oid[]))),
		(SELECT pg_catalog.array_to_string(pg_catalog.array_agg(u.tab), ',') FROM uses u WHERE u.seq = s.oid AND u.tab = ANY($1::oid[]))
		FROM pg_catalog.pg_class s JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
		WHERE s.relkind = 'S' AND s.oid IN (SELECT seq FROM uses WHERE tab = ANY($1::oid[])) ORDER BY n.nspname COLLATE "C", s.relname COLLATE "C"`
)

// schema reads what the tables are, with sequences, and refuses tables that cannot be
// kept. The rows are still to come.
func (s *session) schema(ctx context.Context) (*manifest, error) {
	if err := s.run(ctx, "setting the search path", plainNames); err != nil {
		return nil, err
	}
	m := &manifest{Format: format}
	steps := []func(context.Context, *manifest) error{s.readTables, s.readColumns, s.readKeys, s.readConstraints, s.readTypes, s.readSequences}
	for _, read := range steps {
		if err := read(ctx, m); err != nil {
			return nil, err
		}
	}
	m.Tables = s.tables
	for i := range m.Tables {
		if len(m.Tables[i].copied()) == 0 {
			return nil, refused("leave it out of the set", "table %s has no column to keep", m.Tables[i].show())
		}
	}
	return m, nil
}

func (s *session) readTables(ctx context.Context, m *manifest) error {
	seen := 0
	err := s.query(ctx, selectTables, func(rows pgx.Rows) error {
		var oid int64
		var kind, persistence string
		var hidden, inside bool
		if err := rows.Scan(&oid, &kind, &persistence, &hidden, &inside, &m.Server); err != nil {
			return err
		}
		seen++
		t := s.table(oid)
		t.Parts = kind == "p"
		switch {
		case kind != "r" && kind != "p" || persistence == "t":
			return refused("name tables, not views, foreign or temporary tables", "%s of set %s is no table that can be kept", t.show(), s.set.name)
		case hidden:
			return refused("use a role with BYPASSRLS, or the owner of the table", "row-level security hides rows of table %s from the role", t.show())
		case inside:
			return wflo.Errorf(wflo.CodeInvalid, "name the whole table or its partitions, not both", "table %s is a partition of another table of set %s", t.show(), s.set.name)
		}
		return nil
	})
	if err == nil && seen != len(s.tables) {
		return &lost{"the tables were dropped or made anew while they were looked for", nil}
	}
	return err
}

func (s *session) readColumns(ctx context.Context, _ *manifest) error {
	return s.query(ctx, selectColumns, func(rows pgx.Rows) error {
		var oid int64
		var c column
		err := rows.Scan(&oid, &c.Name, &c.Type, &c.NotNull, &c.Identity, &c.Generated, &c.Collation, &c.Text)
		if t := s.table(oid); err == nil {
			t.Columns = append(t.Columns, c)
		}
		return err
	})
}

func (s *session) readKeys(ctx context.Context, _ *manifest) error {
	return s.query(ctx, selectKeys, func(rows pgx.Rows) error {
		var oid int64
		var name string
		err := rows.Scan(&oid, &name)
		if t := s.table(oid); err == nil {
			t.Key = append(t.Key, name)
		}
		return err
	})
}

func (s *session) readConstraints(ctx context.Context, _ *manifest) error {
	return s.query(ctx, selectConstraints, func(rows pgx.Rows) error {
		var oid int64
		var c constraint
		err := rows.Scan(&oid, &c.Name, &c.Def)
		if t := s.table(oid); err == nil {
			t.Constraints = append(t.Constraints, c)
		}
		return err
	})
}

func (s *session) readTypes(ctx context.Context, m *manifest) error {
	return s.query(ctx, selectTypes, func(rows pgx.Rows) error {
		var t typeDef
		err := rows.Scan(&t.Name, &t.Def)
		m.Types = append(m.Types, t)
		return err
	})
}

func (s *session) readSequences(ctx context.Context, m *manifest) error {
	err := s.query(ctx, selectSequences, func(rows pgx.Rows) error {
		var q sequence
		var of string
		if err := rows.Scan(&q.Schema, &q.Name, &q.increment, &q.shared, &of); err != nil {
			return err
		}
		q.shared = q.shared || s.limited(of)
		m.Sequences = append(m.Sequences, q)
		return nil
	})
	if err != nil {
		return err
	}
	return s.readPositions(ctx, m.Sequences)
}

// readPositions reads where sequences stand. They are outside of transactions: what is
// read here is not behind the rows that the transaction sees.
func (s *session) readPositions(ctx context.Context, all []sequence) error {
	for i := range all {
		q := &all[i]
		err := s.conn.QueryRow(ctx, "SELECT last_value, is_called FROM "+q.ident()).Scan(&q.Last, &q.Called)
		if err != nil {
			return explain(ctx, "reading sequence "+show(q.Schema, q.Name), err)
		}
	}
	return nil
}

// limited says that one of these tables is kept in part.
func (s *session) limited(oids string) bool {
	for i := range s.tables {
		if t := &s.tables[i]; t.Where != "" && strings.Contains(","+oids+",", ","+itoa(t.oid)+",") {
			return true
		}
	}
	return false
}

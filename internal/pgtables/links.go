package pgtables

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// selectLinks reads the foreign keys to tables of the set or to their partitions, those
// of the set among them. One of a partitioned table comes once, not for each
// partition.
const selectLinks = `WITH RECURSIVE family(root, id) AS (
		SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY($1::oid[])
		UNION SELECT f.root, i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.id
		JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition),
	keys AS (SELECT DISTINCT ON (k.conrelid, t.root, k.conkey) k.*, t.root AS target, coalesce(f.root, 0) AS source
		FROM pg_catalog.pg_constraint k JOIN family t ON t.id = k.confrelid LEFT JOIN family f ON f.id = k.conrelid
		WHERE k.contype = 'f' ORDER BY k.conrelid, t.root, k.conkey, k.conparentid)
	SELECT k.conname, k.source::int8, k.target::int8, n.nspname, c.relname, c.relkind::text, k.condeferrable, k.confdeltype::text,
		(SELECT pg_catalog.json_agg(pg_catalog.json_build_array(pg_catalog.quote_ident(fa.attname), pg_catalog.quote_ident(ta.attname),
			pg_catalog.quote_ident(opn.nspname) || '.' || op.oprname) ORDER BY u.o)::text
		FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey), pg_catalog.unnest(k.conpfeqop)) WITH ORDINALITY u(f, t, e, o)
		JOIN pg_catalog.pg_attribute fa ON fa.attrelid = k.conrelid AND fa.attnum = u.f
		JOIN pg_catalog.pg_attribute ta ON ta.attrelid = k.confrelid AND ta.attnum = u.t
		JOIN pg_catalog.pg_operator op ON op.oid = u.e JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace)
	FROM keys k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	ORDER BY k.conparentid, n.nspname COLLATE "C", c.relname COLLATE "C", k.conname COLLATE "C"`

// links reads foreign keys.
func (s *session) links(ctx context.Context) (all []link, err error) {
	err = s.query(ctx, selectLinks, func(rows pgx.Rows) error {
		var l link
		var source, target int64
		var schema, name, kind, pairs string
		if err := rows.Scan(&l.name, &source, &target, &schema, &name, &kind, &l.deferrable, &l.action, &pairs); err != nil {
			return err
		}
		var columns [][3]string
		if err := json.Unmarshal([]byte(pairs), &columns); err != nil {
			return fmt.Errorf("read the columns of constraint %s: %w", l.name, err)
		}
		l.from, l.to, l.fromName = s.place(source), s.place(target), show(schema, name)
		l.query = s.danger(&l, table{Schema: schema, Name: name, Parts: kind == "p"}, columns)
		all = append(all, l)
		return nil
	})
	return all, err
}

// place is where a table is in the set; -1 for one outside.
func (s *session) place(oid int64) int {
	for i := range s.tables {
		if s.tables[i].oid == oid {
			return i
		}
	}
	return -1
}

// danger asks whether a row that stays refers to one that is deleted for a moment.
// Empty where there can be none, or the constraint waits until all is back.
func (s *session) danger(l *link, from table, columns [][3]string) string {
	stays := ""
	if l.from >= 0 {
		where := s.tables[l.from].Where
		if where == "" {
			return ""
		}
		stays = " WHERE (" + where + "\n) IS NOT TRUE"
	}
	if l.waits() {
		return ""
	}
	var refers, target, on []string
	for i, c := range columns {
		refers = append(refers, fmt.Sprintf("%s AS c%d", c[0], i))
		target = append(target, fmt.Sprintf("%s AS c%d", c[1], i))
		schema, op, _ := strings.Cut(c[2], ".")
		on = append(on, fmt.Sprintf("t.c%d OPERATOR(%s.%s) f.c%d", i, schema, op, i))
	}
	to := &s.tables[l.to]
	return fmt.Sprintf("SELECT EXISTS (SELECT FROM (SELECT %s FROM %s%s) f JOIN (SELECT %s FROM %s%s) t ON %s)",
		strings.Join(refers, ", "), from.only(), stays, strings.Join(target, ", "), to.only(), to.which(), strings.Join(on, " AND "))
}

// untouched refuses a restore that would delete, change or be refused by rows that the
// set does not have.
func (s *session) untouched(ctx context.Context, links []link) error {
	for i := range links {
		l := &links[i]
		if l.query == "" {
			continue
		}
		var found bool
		to := s.tables[l.to].show()
		if err := s.conn.QueryRow(ctx, l.query).Scan(&found); err != nil {
			return explain(ctx, "looking for rows of table "+l.fromName+" that refer to table "+to, err)
		}
		if !found {
			continue
		}
		would := map[string]string{"c": "delete them", "n": "empty them", "d": "change them"}[l.action]
		if would == "" {
			would = "break the constraint"
		}
		return refused("add table "+l.fromName+" to the set with all rows that refer to it, or make the constraint DEFERRABLE without an action on delete",
			"rows of table %s that are not kept refer to rows of table %s (constraint %s), and to replace those would %s", l.fromName, to, showPart(l.name), would)
	}
	return nil
}

package config

import "github.com/goccy/go-yaml/ast"

// TableSet is PostgreSQL tables that snapshots keep together.
type TableSet struct {
	// URL says where the address of their database is.
	URL Secret
	// Tables are those of the set, at least one.
	Tables []Table
	// SkipTriggers keeps triggers from firing while rows come back.
	SkipTriggers bool
}

// Table is one table of a set, as SQL writes it.
type Table struct {
	Name string
	// Where is a condition in SQL for the rows that are kept; empty means all.
	Where string
}

// tableSets reads the mapping of names to sets.
func (r *reader) tableSets(n ast.Node, into *map[string]TableSet) error {
	values, err := r.pairs(n, "tables")
	if err != nil {
		return err
	}
	*into = make(map[string]TableSet, len(values))
	for _, v := range values {
		name := v.Key.GetToken().Value
		if name == "" {
			return r.fail(v.Key, "name it as snapshots ask for it", "a set of tables has no name")
		}
		if (*into)[name], err = r.tableSet(v.Key, v.Value, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) tableSet(key, n ast.Node, name string) (s TableSet, err error) {
	seen := map[string]bool{}
	_, err = r.mapping(n, "a set of tables", r.secretField("url", &s.URL), r.boolField("skip_triggers", &s.SkipTriggers),
		field{"tables", func(n ast.Node) error {
			return r.list(n, "tables", func(n ast.Node) error {
				t, err := r.table(n)
				if err == nil && seen[t.Name] {
					err = r.fail(n, "name each table once", "a table of the set %s is there twice", short(name))
				}
				seen[t.Name] = true
				s.Tables = append(s.Tables, t)
				return err
			})
		}})
	switch {
	case err != nil:
		return s, err
	case !s.URL.Set():
		return s, r.fail(key, "say where its address is, such as url: {env: SHOP_DATABASE_URL}", "the set of tables %s has no url", short(name))
	case len(s.Tables) == 0:
		return s, r.fail(key, "name at least one, such as tables: [public.orders]", "the set of tables %s has no table", short(name))
	}
	return s, nil
}

// table reads a name, or a mapping with a name and a condition.
func (r *reader) table(n ast.Node) (t Table, err error) {
	if n.Type() != ast.MappingType && n.Type() != ast.MappingValueType {
		t.Name, err = r.text(n, "a table")
	} else {
		_, err = r.mapping(n, "a table", r.textField("name", &t.Name), r.textField("where", &t.Where))
	}
	if err == nil && t.Name == "" {
		err = r.fail(n, `write it as in SQL: orders, sales.orders or "Sales"."Orders"`, "a table has no name")
	}
	return t, err
}

package pgtables

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// only keeps a statement to the table itself, where others inherit from it.
func (t *table) only() string {
	if t.Parts {
		return t.ident()
	}
	return "ONLY " + t.ident()
}

// which is the condition as a clause. The newline ends a comment in it.
func (t *table) which() string {
	if t.Where == "" {
		return ""
	}
	return " WHERE (" + t.Where + "\n)"
}

func (t *table) columnList() string {
	var names []string
	for _, c := range t.copied() {
		names = append(names, pgx.Identifier{c.Name}.Sanitize())
	}
	return strings.Join(names, ", ")
}

// copyOut reads the rows in an order that does not depend on collations, which change
// with the operating system: by the primary key, or else by all that the rows say.
func (t *table) copyOut() string {
	var order []string
	for _, name := range t.Key {
		by := pgx.Identifier{name}.Sanitize()
		for _, c := range t.Columns {
			if c.Name == name && c.Text {
				by += ` COLLATE pg_catalog."C"`
			}
		}
		order = append(order, by)
	}
	if len(order) == 0 {
		order = []string{"ROW(" + t.columnList() + `)::text COLLATE pg_catalog."C"`}
	}
	return "COPY (" + t.selectRows() + " ORDER BY " + strings.Join(order, ", ") + ") TO STDOUT"
}

// copyAny reads the rows as they lie.
func (t *table) copyAny() string { return "COPY (" + t.selectRows() + ") TO STDOUT" }

func (t *table) selectRows() string {
	return "SELECT " + t.columnList() + " FROM " + t.only() + t.which()
}

// copyIn writes rows. COPY takes the values of identity columns as they are.
func (t *table) copyIn() string { return "COPY " + t.ident() + " (" + t.columnList() + ") FROM STDIN" }

func (t *table) deleteRows() string { return "DELETE FROM " + t.only() + t.which() }

// read copies the rows of a table to a chunker, and fills in how much they are.
func (s *session) read(ctx context.Context, t *table, sql string, to *chunker) error {
	doing := "reading table " + t.show()
	_, err := s.conn.PgConn().CopyTo(ctx, to, sql)
	if err == nil {
		err = to.finish()
	}
	if wflo.CodeOf(err) != "" { // the chunker's, which does not know whose rows they are
		return fmt.Errorf("%s: %w", doing, err)
	}
	t.Rows, t.Bytes = to.total, to.size
	return explain(ctx, doing, err)
}

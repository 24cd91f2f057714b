package pgtables

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// execEach runs statements that cannot be in one transaction.
func (w *world) execEach(sql string) {
	w.t.Helper()
	for s := range strings.SplitSeq(sql, ";") {
		w.exec(s)
	}
}

func copyToFile(b *testing.B, conn *pgconn.PgConn, name string) {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	to := bufio.NewWriterSize(f, 1<<20)
	if _, err := conn.CopyTo(b.Context(), to, "COPY orders TO STDOUT"); err != nil {
		b.Fatal(err)
	}
	if err := to.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}

func copyFromFile(b *testing.B, conn *pgconn.PgConn, name string) {
	b.Helper()
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	must := func(_ any, err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(conn.Exec(b.Context(), "BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE; DELETE FROM orders").ReadAll())
	must(conn.CopyFrom(b.Context(), f, "COPY orders FROM STDIN"))
	must(conn.Exec(b.Context(), "COMMIT").ReadAll())
}

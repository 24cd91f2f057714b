package dbcmd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
)

var server *pgtest.Server

func TestMain(m *testing.M) {
	code := 1
	var err error
	if server, err = pgtest.Start(); err == nil {
		code = m.Run()
		err = server.Stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "postgres:", err)
		code = 1
	}
	os.Exit(code)
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := Command()
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// Two jobs and a second run are as good as one.
func TestMigratePostgreSQL(t *testing.T) {
	t.Setenv("WFLO_DATABASE", server.Database(t))
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if out, err := run(t, "migrate"); err != nil || !strings.Contains(out, "up to date (PostgreSQL)") {
				t.Errorf("migrate: %v %s", err, out)
			}
		})
	}
	all.Wait()
	if out, err := run(t, "migrate"); err != nil || !strings.Contains(out, "up to date") {
		t.Errorf("again: %v %s", err, out)
	}
}

func TestMigrateSQLite(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("WFLO_DATABASE", "")
	t.Setenv("WFLO_DATA_DIR", dir)
	if out, err := run(t, "migrate"); err != nil || !strings.Contains(out, "up to date (SQLite)") {
		t.Fatalf("migrate: %v %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "wflo.db")); err != nil {
		t.Error(err)
	}
}

func TestMigrateRefuses(t *testing.T) {
	for where, want := range map[string]string{
		"memory":                                      "nothing outlives",
		"postgres://u:canary@127.0.0.1:1/x":           "connect",
		"mysql://u:canary@127.0.0.1/x":                "",
		"postgres://u:canary@127.0.0.1:1/x?sslmode=%": "",
	} {
		t.Setenv("WFLO_DATABASE", where)
		if _, err := run(t, "migrate"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", where, err)
		}
	}
	if _, err := run(t, "migrate", "now"); err == nil || !strings.Contains(err.Error(), "takes no argument") {
		t.Errorf("an argument: %v", err)
	}
}

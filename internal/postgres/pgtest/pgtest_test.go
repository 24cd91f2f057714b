package pgtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServerIsDurableAndGoneAfterStop(t *testing.T) {
	t.Setenv(EnvURL, "")
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	dir := s.dir
	for _, setting := range []string{"fsync", "synchronous_commit"} {
		if err := s.Exec(t.Context(), "SELECT 1 / (current_setting($1) = 'on')::int", setting); err != nil {
			t.Errorf("%s is not on: %v", setting, err)
		}
	}
	t.Run("databases", func(t *testing.T) {
		if one, two := s.Database(t), s.Database(t); one == two {
			t.Errorf("two databases have one URL, %s", one)
		}
	})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if err := s.cmd.Process.Signal(os.Interrupt); err == nil {
		t.Error("the server still runs")
	}
}

func TestServerOfTheEnvironmentIsUsed(t *testing.T) {
	t.Setenv(EnvURL, "postgres:///elsewhere")
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	if s.admin != "postgres:///elsewhere" || s.cmd != nil {
		t.Errorf("server is %+v", s)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
}

func TestMissingServerSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := findBinaries(filepath.Join(t.TempDir(), "*", "bin", "initdb"))
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("error %v has no hint", err)
	}
}

func TestNewestServerWins(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"9", "15", "100", "old"} {
		if err := os.MkdirAll(filepath.Join(dir, version, "bin", "initdb"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := findBinaries(filepath.Join(dir, "*", "bin", "initdb"))
	if want := filepath.Join(dir, "100", "bin"); err != nil || bin != want {
		t.Errorf("found %s, %v; want %s", bin, err, want)
	}
}

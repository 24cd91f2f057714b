package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// importVar makes the test program import a file and end; see TestMain.
const importVar = "WFLO_TEST_IMPORT"

// importAlone is `wflo prices import` in a process of its own.
func importAlone() int {
	return Main(context.Background(), Deps{}, []string{"prices", "import", os.Getenv(importVar)})
}

// Imports of several processes into one file write one after the other, and no
// row gets lost.
func TestPricesImportProcesses(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own.json")
	const processes = 12
	var wait sync.WaitGroup
	said, errs := make([][]byte, processes), make([]error, processes)
	for i := range processes {
		file := ownBook(t, ownRow("m"+strconv.Itoa(i), "1", "2"))
		wait.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), importVar+"="+file, "WFLO_PRICES="+own)
			said[i], errs[i] = cmd.CombinedOutput()
		})
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("import %d: %v\n%s", i, err, said[i])
		}
	}
	data, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	for i := range processes {
		if !strings.Contains(string(data), strconv.Quote("m"+strconv.Itoa(i))) {
			t.Errorf("row m%d got lost", i)
		}
	}
	if left, err := filepath.Glob(own + "?*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A lock keeps others out until it is given back or its holder is gone, and who
// waits too long is told.
func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own.json")
	unlock, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := lockFile(late, path); !errors.Is(err, wflo.ErrConflict) || !strings.Contains(err.Error(), "another wflo is writing") {
		t.Errorf("a second lock: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := lockFile(stopped, path); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock, interrupted: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
	// What a process that was killed leaves behind is only a file.
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatalf("after a process that died: %v", err)
	}
	if err := after(); err != nil {
		t.Error(err)
	}
}

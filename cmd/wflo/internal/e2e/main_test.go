//go:build integration

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bin are the programs under test, by path.
var bin struct{ wflo, worker, refund, temporal string }

func TestMain(m *testing.M) {
	if queue := os.Getenv(soakQueue); queue != "" {
		fmt.Fprintln(os.Stderr, "soak worker:", soakWorker(queue))
		os.Exit(1)
	}
	if queue := os.Getenv(faultQueue); queue != "" {
		fmt.Fprintln(os.Stderr, "faulty worker:", faultyWorker(queue))
		os.Exit(1)
	}
	flag.Parse()
	// Most tests wait for Temporal to notice that a worker is dead. They can
	// wait together however few processors there are.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := 1
	dir, err := os.MkdirTemp("", "wflo-e2e-")
	if err == nil {
		if err = buildAll(dir); err == nil {
			code = m.Run()
		}
		err = join(err, os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func join(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func buildAll(dir string) error {
	root, err := filepath.Abs("../../../..")
	if err != nil {
		return err
	}
	bin.worker, bin.refund = filepath.Join(dir, "worker"), filepath.Join(dir, "refund-worker")
	bin.temporal = filepath.Join(root, "bin", "temporal")
	bin.wflo = os.Getenv("WFLO_BIN")
	if bin.wflo == "" {
		bin.wflo = filepath.Join(root, "bin", "wflo")
	}
	steps := [][]string{{"go", "build", "-trimpath", "-o", bin.worker, "./worker"}, {"go", "build", "-trimpath", "-o", bin.refund, "./examples/refund/worker"}}
	if !exists(bin.wflo) {
		steps = append(steps, []string{"go", "build", "-trimpath", "-o", bin.wflo, "./cmd/wflo"})
	}
	if !exists(bin.temporal) {
		steps = append(steps, []string{"make", "bin/temporal"})
	}
	for _, argv := range steps {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", argv, err, out)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

//go:build integration

package cryptic

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// worker, starter and temporalTool are the programs under test, by path.
var worker, starter, temporalTool string

func TestMain(m *testing.M) {
	code := 1
	dir, err := os.MkdirTemp("", "wflo-cryptic-")
	if err == nil {
		if err = buildAll(dir); err == nil {
			code = m.Run()
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cryptic:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAll(dir string) error {
	root, err := filepath.Abs("../../../..")
	if err != nil {
		return err
	}
	worker, starter, temporalTool = filepath.Join(dir, "worker"), filepath.Join(dir, "starter"), filepath.Join(root, "bin", "temporal")
	steps := [][]string{{"go", "build", "-trimpath", "-o", dir + "/", "./worker", "./starter"}}
	if _, err := os.Stat(temporalTool); err != nil {
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

package clitest

import (
	"fmt"
	"io"
	"testing"
)

// A command's output can be read while it runs, and its end is waited for.
func TestCommand(t *testing.T) {
	goOn := make(chan struct{})
	c := Begin(t, "talker", func(out, errOut io.Writer) int {
		fmt.Fprintln(out, "ready")
		<-goOn
		fmt.Fprintln(errOut, "bye")
		return 7
	}, func() {})
	c.Says(t, "ready\n")
	select {
	case <-c.Ended():
		t.Error("ended by itself")
	default:
	}
	close(goOn)
	c.Want(t, 7, "ready", "bye")
	if c.Out.String() != "ready\n" || c.Err.String() != "bye\n" {
		t.Errorf("out %q, err %q", c.Out.String(), c.Err.String())
	}
}

// failures notes that a test would have failed.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.n++ }

// A wrong exit code and a missing text are a failure each.
func TestWantFails(t *testing.T) {
	c := Begin(t, "failing", func(io.Writer, io.Writer) int { return 1 }, func() {})
	f := &failures{TB: t}
	c.Want(f, 0, "absent")
	if f.n != 2 {
		t.Errorf("%d failures, want 2", f.n)
	}
}

// Package clitest is what the tests of wflo's programs share: a [Buffer] that may
// be read while something writes to it, [Await], a [Command] that runs beside its
// test, a [Program] that can be killed, and a [Postmaster], which is PostgreSQL that
// can be killed. It knows nothing of wflo, so that the command line's own tests can
// use it too.
package clitest

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long anything may take: much, because the machine may be busy.
const Patience = 4 * time.Minute

// Buffer may be read while a program writes to it. The zero value is empty.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds to the buffer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String is what was written until now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Await polls until ok, and fails the test when that takes longer than Patience.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Command is one invocation of a program that runs beside the test.
type Command struct {
	// Name is what failures call it.
	Name string
	// Out and Err are its standard output and standard error.
	Out, Err Buffer

	ended chan struct{}
	code  int
}

// Begin calls run, which returns the exit code, in a goroutine of its own. When
// the test ends, stop is called, which must make run return, and the output is
// logged if the test failed.
func Begin(t testing.TB, name string, run func(out, err io.Writer) int, stop func()) *Command {
	t.Helper()
	c := &Command{Name: name, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.code = run(&c.Out, &c.Err)
	}()
	t.Cleanup(func() {
		stop()
		<-c.ended
		if t.Failed() {
			t.Logf("%s:\n%s", c.Name, c.Said())
		}
	})
	return c
}

// Ended is closed when the program has ended.
func (c *Command) Ended() <-chan struct{} { return c.ended }

// Wait returns the exit code when the program has ended, and fails the test when
// that takes longer than Patience.
func (c *Command) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(Patience):
		t.Fatalf("%s does not end:\n%s", c.Name, c.Said())
	}
	return c.code
}

// Want waits for the end, and checks the exit code and what was said.
func (c *Command) Want(t testing.TB, code int, parts ...string) {
	t.Helper()
	if got := c.Wait(t); got != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", c.Name, got, code, c.Said())
	}
	for _, part := range parts {
		if !strings.Contains(c.Said(), part) {
			t.Errorf("%s lacks %q:\n%s", c.Name, part, c.Said())
		}
	}
}

// Find waits until the program has said something, and fails the test when it
// ends before. find gives what it looks for, and whether that is there.
func (c *Command) Find(t testing.TB, what string, find func(said string) (string, bool)) string {
	t.Helper()
	var found string
	Await(t, what, func() bool {
		// Whether it has ended is asked first: what it said until then is complete.
		ended := false
		select {
		case <-c.ended:
			ended = true
		default:
		}
		var ok bool
		if found, ok = find(c.Said()); !ok && ended {
			t.Fatalf("%s ends with %d before it says %s:\n%s", c.Name, c.code, what, c.Said())
		}
		return ok
	})
	return found
}

// Says waits until the program has written text.
func (c *Command) Says(t testing.TB, text string) {
	t.Helper()
	c.Find(t, text, func(said string) (string, bool) { return text, strings.Contains(said, text) })
}

// Said is all output until now, standard output first.
func (c *Command) Said() string {
	return c.Out.String() + "--- standard error ---\n" + c.Err.String()
}

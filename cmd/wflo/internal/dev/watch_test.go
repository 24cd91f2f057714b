package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// output collects what is written, for several writers.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// await waits until the text has been written, and takes all up to it.
func (o *output) await(t *testing.T, part string) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		o.mu.Lock()
		text := o.text.String()
		_, rest, found := strings.Cut(text, part)
		if found {
			o.text.Reset()
			o.text.WriteString(rest)
		}
		o.mu.Unlock()
		if found {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never said %q:\n%s", part, text)
		}
	}
}

// program is a worker that says a word and waits for its end.
const program = `package main

import (
	"fmt"
	"os"
	"os/signal"

	"example.com/w/words"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt)
	fmt.Println("begins", words.Word, os.Getenv("WFLO_DEV"))
	<-end
	fmt.Println("ends", words.Word)
}
`

// A change of the code stops the worker and starts the new one; what does not build is
// told, and the worker goes on; nothing is left behind.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	word := func(text string) { write("words/words.go", fmt.Sprintf("package words\n\nconst Word = %s\n", text)) }
	write("go.mod", "module example.com/w\n\ngo 1.26\n")
	write("worker/main.go", program)
	word(`"one"`)
	t.Setenv("GOWORK", "off")
	out := &output{}
	w := &watcher{dir: dir, env: []string{"WFLO_DEV=1"}, out: out}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	out.await(t, "begins one 1")
	word(`"two"`)
	out.await(t, "ends one")
	out.await(t, "begins two 1")
	word(`nonsense`)
	out.await(t, "does not build; the worker before goes on")
	out.await(t, "undefined: nonsense")
	word(`"three"`)
	out.await(t, "ends two") // it was still there
	out.await(t, "begins three 1")
	write("more/deep/x.go", "package deep\n") // a new folder
	out.await(t, "ends three")
	out.await(t, "begins three 1")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	out.await(t, "ends three")
	if err := checkWatched(t.TempDir()); err == nil {
		t.Error("a directory without a worker is taken")
	}
}

// A worker that ends by itself is told of, and started again with the next change.
func TestWatchedWorkerEnds(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GOWORK", "off")
	for name, text := range map[string]string{
		"go.mod": "module example.com/w\n\ngo 1.26\n", "worker/main.go": "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(3) }\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := &output{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&watcher{dir: dir, out: out}).run(ctx) }()
	out.await(t, "the worker ended (exit status 3)")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

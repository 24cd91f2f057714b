package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
)

const (
	// settle is how long files must have been left alone before they are built: editors
	// and version control write many at once.
	settle = 300 * time.Millisecond
	// stopTime is how long a worker may take to stop before it is killed.
	stopTime = 15 * time.Second
)

// watcher builds and runs a user's worker, and again whenever its code changes.
type watcher struct {
	// dir has the module, and the worker in its folder worker.
	dir string
	// env is what the worker gets besides this process's own.
	env []string
	// out takes what the go command and the worker say, and ours.
	out io.Writer
}

// checkWatched refuses a directory without a worker before anything is started.
func checkWatched(dir string) error {
	if info, err := os.Stat(filepath.Join(dir, "worker")); err != nil || !info.IsDir() {
		return cli.Usage("begin a project with wflo init, or name the directory that has a folder worker with your worker's main package",
			"--watch: %s has no folder worker", dir)
	}
	return nil
}

// run watches until ctx ends, and leaves no worker behind. What does not build is told,
// and the worker before goes on.
func (w *watcher) run(ctx context.Context) error {
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.dir, err)
	}
	defer func() { _ = files.Close() }() // nothing is left to be read
	if err := addFolders(files, w.dir); err != nil {
		return fmt.Errorf("watch %s: %w", w.dir, err)
	}
	place, err := os.MkdirTemp("", "wflo-dev-")
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.dir, err)
	}
	defer func() { _ = os.RemoveAll(place) }() // in the directory for temporary files
	var worker *process
	defer func() { worker.stop() }()
	due := time.NewTimer(0) // the first build
	defer due.Stop()
	for builds := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case e := <-files.Events:
			if w.newFolder(files, e) || matters(e) {
				due.Reset(settle)
			}
		case err := <-files.Errors:
			w.say("watching %s: %v", w.dir, err)
		case <-worker.ended():
			w.say("the worker ended (%v); it is started again when a file changes", worker.err)
			worker = nil
		case <-due.C:
			builds++
			binary := filepath.Join(place, fmt.Sprint("worker-", builds))
			if !w.build(ctx, binary) {
				continue
			}
			worker.stop()
			if worker, err = w.start(binary); err != nil {
				w.say("start the worker: %v", err)
			}
		}
	}
}

// newFolder watches a folder that is new. What was written into it before that was not
// seen, so it counts as a change.
func (w *watcher) newFolder(files *fsnotify.Watcher, e fsnotify.Event) bool {
	if !e.Has(fsnotify.Create) {
		return false
	}
	info, err := os.Stat(e.Name)
	if err != nil || !info.IsDir() {
		return false
	}
	if err := addFolders(files, e.Name); err != nil {
		w.say("watching %s: %v", e.Name, err)
	}
	return true
}

func (w *watcher) say(format string, args ...any) { fmt.Fprintf(w.out, "watch: "+format+"\n", args...) }

// matters says that an event may change what the worker does.
func matters(e fsnotify.Event) bool {
	name := filepath.Base(e.Name)
	return !e.Has(fsnotify.Chmod) && (strings.HasSuffix(name, ".go") || name == "go.mod" || name == "go.sum") && !strings.HasSuffix(name, "_test.go")
}

// addFolders watches a folder and all below it, but for hidden ones and those that the
// go command leaves out.
func addFolders(files *fsnotify.Watcher, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		name := d.Name()
		if path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules") {
			return fs.SkipDir
		}
		return files.Add(path)
	})
}

// build says what does not compile, and whether everything does.
func (w *watcher) build(ctx context.Context, binary string) bool {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./worker")
	cmd.Dir = w.dir
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return false
	}
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		w.say("this does not build; the worker before goes on\n%s", strings.TrimSpace(string(out)))
	case err != nil:
		w.say("go build: %v", err)
	}
	return err == nil
}

func (w *watcher) start(binary string) (*process, error) {
	cmd := exec.Command(binary) //nolint:gosec // it was built from the directory that somebody named
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), w.env...)
	cmd.Stdout, cmd.Stderr = w.out, w.out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	w.say("the worker is running")
	return p, nil
}

// process is a worker that was started. A nil one is none.
type process struct {
	cmd  *exec.Cmd
	err  error // once done is closed
	done chan struct{}
}

func (p *process) ended() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.done
}

// stop asks the worker to end, and waits.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	late := time.AfterFunc(stopTime, func() { _ = p.cmd.Process.Kill() })
	<-p.done
	late.Stop()
}

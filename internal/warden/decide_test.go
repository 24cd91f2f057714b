//go:build linux

package warden

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestDecide(t *testing.T) {
	exited := func(code int) unix.WaitStatus { return unix.WaitStatus(code << 8) }
	killed := unix.WaitStatus(unix.SIGKILL)
	for name, c := range map[string]struct {
		status  unix.WaitStatus
		stopped sandbox.Outcome
		oom     bool
		full    []string
		want    sandbox.Outcome
	}{
		"ok":                       {status: exited(0), want: sandbox.Succeeded},
		"ok with a full disk":      {status: exited(0), full: []string{"tmp"}, want: sandbox.Succeeded},
		"failed with a full disk":  {status: exited(1), full: []string{"tmp"}, want: sandbox.DiskFull},
		"failed":                   {status: exited(137), want: sandbox.Nonzero},
		"failed after a child's":   {status: exited(1), oom: true, want: sandbox.Nonzero},
		"killed":                   {status: killed, want: sandbox.Signalled},
		"killed for memory":        {status: killed, oom: true, want: sandbox.OutOfMemory},
		"memory before disk":       {status: killed, oom: true, full: []string{"tmp"}, want: sandbox.OutOfMemory},
		"crashed with memory out":  {status: unix.WaitStatus(unix.SIGSEGV), oom: true, want: sandbox.Signalled},
		"stopped":                  {status: killed, stopped: sandbox.Timeout, want: sandbox.Timeout},
		"stopped as it ended well": {status: exited(0), stopped: sandbox.OutputLimit, want: sandbox.OutputLimit},
	} {
		if got, _ := decide(c.status, c.stopped, "", c.oom, c.full); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestChanges(t *testing.T) {
	file := func(size int64) stamp { return stamp{size: size} }
	before := tree{all: true, files: map[string]stamp{"same": file(1), "other": file(1), "gone": file(1)}}
	after := tree{all: true, files: map[string]stamp{"same": file(1), "other": file(2), "new\xff": file(3)}}
	got, more := changes(before, after)
	want := []sandbox.Change{{Name: "gone", Op: "removed"}, {Name: "new\uFFFD", Op: "added", Size: 3}, {Name: "other", Op: "changed", Size: 2}}
	if diff := cmp.Diff(want, got); diff != "" || more != 0 {
		t.Errorf("%d more (-want +got):\n%s", more, diff)
	}
	many := tree{all: true, files: map[string]stamp{}}
	for i := range sandbox.MaxChanged + 5 {
		many.files[fmt.Sprint(i)] = file(1)
	}
	if got, more := changes(tree{all: true}, many); len(got) != sandbox.MaxChanged || more != 5 {
		t.Errorf("%d listed and %d more, want %d and 5", len(got), more, sandbox.MaxChanged)
	}
	long := tree{all: true, files: map[string]stamp{}}
	for i := range 100 {
		long.files[fmt.Sprint(i)+strings.Repeat("x", 4000)] = file(1)
	}
	if got, more := changes(tree{all: true}, long); len(got)+more != 100 || more == 0 {
		t.Errorf("%d listed and %d more of names that fit into no frame", len(got), more)
	}
	if got, more := changes(before, tree{count: maxCompared}); len(got) != 0 || more != maxCompared {
		t.Errorf("%d listed and %d more of a tree that is too large", len(got), more)
	}
}

func TestFlow(t *testing.T) {
	q := newInflow(frame.InitialWindow)
	whole := bytes.Repeat([]byte("x"), 200<<10)
	if !q.put(whole) || q.put(whole) {
		t.Error("the window is not what it was said to be")
	}
	q.end()
	var got bytes.Buffer
	acked := 0
	if err := q.run(&got, func(n int) { acked += n }); err != nil || got.Len() != len(whole) || acked != len(whole) {
		t.Errorf("%d bytes, %d acknowledged, %v", got.Len(), acked, err)
	}
	q = newInflow(frame.InitialWindow)
	q.put(whole)
	q.end()
	acked = 0
	if err := q.run(shut{}, func(n int) { acked += n }); err == nil || acked != len(whole) {
		t.Errorf("into a closed pipe: %d acknowledged, %v", acked, err)
	}
}

type shut struct{}

func (shut) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestLookPath(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/tool": 0o644, "b/tool": 0o755, "a/plain": 0o644, "ws/here": 0o755} {
		if err := os.MkdirAll(root+"/"+strings.Split(name, "/")[0], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+"/"+name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	search := ".:" + root + "/a:" + root + "/b"
	for name, c := range map[string]struct {
		want string
		code int
	}{
		"tool": {root + "/b/tool", 0}, "plain": {"", codeRefused}, "nosuch": {"", codeMissing}, "here": {"", codeMissing}, "./here": {"./here", 0},
		root + "/a": {root + "/a", codeRefused}, root + "/b/tool": {root + "/b/tool", 0}, "./nosuch": {"./nosuch", codeMissing},
	} {
		got, err := lookPath(name, search, root+"/ws")
		code := 0
		if e, ok := err.(*startError); ok {
			code = e.code
		}
		if got != c.want || code != c.code {
			t.Errorf("%s: %q and code %d, want %q and %d", name, got, code, c.want, c.code)
		}
	}
}

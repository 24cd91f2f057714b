package tree

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
)

// sources is the text of Go's own library, again and again.
type sources struct {
	text []byte
	at   int
}

func readSources(b *testing.B) *sources {
	b.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	must(b, err)
	s := &sources{}
	must(b, filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && d.Type().IsRegular() {
			var data []byte
			data, err = os.ReadFile(path)
			s.text = append(s.text, data...)
		}
		return err
	}))
	return s
}

// next gives n bytes more.
func (s *sources) next(n int) []byte {
	if s.at+n > len(s.text) {
		s.at = 0
	}
	s.at += n
	return s.text[s.at-n : s.at]
}

// project fills a directory with 10,000 files of 200 MiB in all, every fifth of which
// does not compress.
func project(b *testing.B, dir string) []string {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	text := readSources(b)
	const files, total = 10_000, 200 << 20
	var names []string
	left := total
	for i := range files {
		size := 2000 + r.IntN(17_000)
		switch {
		case i%2000 == 999:
			size = 10 << 20
		case i%100 == 99:
			size = 500_000
		}
		if i == files-1 {
			size = max(left, 0)
		}
		left -= size
		data := text.next(size)
		if i%5 == 0 || i%4000 == 999 {
			data = noise(uint64(i), size)
		}
		name := filepath.Join(fmt.Sprintf("pkg%d/sub%d", i%40, i%400), fmt.Sprintf("file%d.txt", i))
		must(b, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), data, 0o644))
		names = append(names, name)
	}
	return names
}

// run runs a program and gives how long that took.
func run(b *testing.B, dir, name string, args ...string) time.Duration {
	b.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	begun := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return time.Since(begun)
}

func sizeOf(b *testing.B, dir string) (total int64) {
	b.Helper()
	must(b, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			info, err = d.Info()
			if err == nil {
				total += info.Size()
			}
		}
		return err
	}))
	return total
}

// samples are durations by what took them.
type samples map[string][]time.Duration

func (s samples) add(what string, d time.Duration) { s[what] = append(s[what], d) }

func (s samples) median(what string) float64 {
	slices.Sort(s[what])
	return s[what][len(s[what])/2].Seconds()
}

func (s samples) least(what string) float64 { return slices.Min(s[what]).Seconds() }

// BenchmarkProject saves and restores a tree of 200 MiB in 10,000 files, next to tar
// in the same run, each with and without flushing what tar writes to the disk, as the store does. It reports medians in milliseconds and their ratios.
func BenchmarkProject(b *testing.B) {
	w := newWorkbench(b, Config{})
	names := project(b, w.dir)
	scratch := b.TempDir()
	s := samples{}
	var first, second wflo.SnapshotPart
	r := rand.New(rand.NewPCG(3, 4))
	for i := 0; b.Loop(); i++ {
		store, err := file.Open(file.Config{Dir: filepath.Join(scratch, fmt.Sprint("blobs", i))})
		must(b, err)
		w.Workspace.blobs = store
		archive := filepath.Join(scratch, fmt.Sprint(i, ".tar"))
		begun := time.Now()
		s.add("tar", run(b, w.dir, "tar", "cf", archive, "."))
		run(b, w.dir, "sync", archive)
		s.add("tar+sync", time.Since(begun))

		begun = time.Now()
		first = w.save(b, nil)
		s.add("save", time.Since(begun))

		for range len(names) / 100 {
			name := names[r.IntN(len(names))]
			must(b, os.WriteFile(filepath.Join(w.dir, name), noise(uint64(r.IntN(1<<24)), 10_000), 0o644))
		}
		begun = time.Now()
		second = w.save(b, &first)
		s.add("again", time.Since(begun))

		begun = time.Now()
		must(b, w.Check(b.Context(), w.in, first))
		s.add("check", time.Since(begun))

		out := filepath.Join(scratch, fmt.Sprint("out", i))
		must(b, os.Mkdir(out, 0o755))
		s.add("untar", run(b, out, "tar", "xf", archive))

		src := w.source(b.Context(), mustLoad(b, w, first))
		begun = time.Now()
		must(b, writeDir(b.Context(), filepath.Join(scratch, fmt.Sprint("back", i)), src))
		s.add("restore", time.Since(begun))
		src.close()
		must(b, os.RemoveAll(out), os.RemoveAll(filepath.Join(scratch, fmt.Sprint("back", i))), os.Remove(archive), store.Close(), os.RemoveAll(filepath.Join(scratch, fmt.Sprint("blobs", i))))
	}
	for _, what := range []string{"tar", "tar+sync", "save", "again", "check", "untar", "restore"} {
		b.ReportMetric(s.median(what)*1000, what+"-ms")
	}
	b.ReportMetric(s.median("save")/s.median("tar"), "save/tar")
	b.ReportMetric(s.least("save")/s.least("tar"), "best-save/tar")
	b.ReportMetric(s.median("save")/s.median("tar+sync"), "save/tar+sync")
	b.ReportMetric(s.median("save")/s.median("again"), "first/second")
	b.ReportMetric(s.median("restore")/s.median("untar"), "restore/untar")
	b.ReportMetric(s.least("restore")/s.least("untar"), "best-restore/untar")
	b.ReportMetric(float64(first.Stored)/(1<<20), "stored-MiB")
	b.ReportMetric(float64(second.Stored)/(1<<20), "again-stored-MiB")
}

func mustLoad(b *testing.B, w *workbench, p wflo.SnapshotPart) []node {
	b.Helper()
	m, err := w.load(b.Context(), p)
	must(b, err)
	return m.nodes
}

// BenchmarkGit reports what git needs for the same tree, packed, and
// what a save needs for it.
func BenchmarkGit(b *testing.B) {
	w := newWorkbench(b, Config{})
	project(b, w.dir)
	var packed int64
	var p wflo.SnapshotPart
	for b.Loop() {
		w.blobs.blobs = map[string][]byte{}
		p = w.save(b, nil)
		git := filepath.Join(b.TempDir(), "git")
		run(b, w.dir, "git", "--git-dir", git, "--work-tree", w.dir, "-c", "init.defaultBranch=main", "init", "-q")
		run(b, w.dir, "git", "--git-dir", git, "--work-tree", w.dir, "add", "-A")
		run(b, w.dir, "git", "--git-dir", git, "--work-tree", w.dir, "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-q", "-m", "all")
		run(b, w.dir, "git", "--git-dir", git, "repack", "-a", "-d", "-q")
		packed = sizeOf(b, filepath.Join(git, "objects"))
	}
	b.ReportMetric(float64(p.Stored)/(1<<20), "stored-MiB")
	b.ReportMetric(float64(packed)/(1<<20), "git-MiB")
	b.ReportMetric(float64(p.Stored)/float64(packed), "stored/git")
}

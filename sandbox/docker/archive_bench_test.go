package docker

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// What the benchmarks save and replace: 200 MiB in 10,000 files.
const (
	benchFiles = 10_000
	benchSize  = 200 * sandbox.MiB / benchFiles
)

// benchTree is that tree. Its content is not the same anywhere, and half of it
// can be compressed.
func benchTree() *sandboxtest.Source {
	s := &sandboxtest.Source{Content: map[string][]byte{}}
	for i := range benchFiles {
		if i%100 == 0 {
			s.Entries = append(s.Entries, sandbox.TreeEntry{Name: fmt.Appendf(nil, "d%03d", i/100), Kind: sandbox.TreeDir, Mode: 0o755, MTime: time.Unix(1e9, 0)})
		}
		name, data := fmt.Sprintf("d%03d/f%02d", i/100, i%100), make([]byte, 0, benchSize)
		for n := uint64(i) << 32; len(data) < benchSize; n++ {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
			data = append(append(data, sum[:]...), bytes.Repeat(sum[:1], len(sum))...)
		}
		data = data[:benchSize]
		s.Entries = append(s.Entries, sandbox.TreeEntry{Name: []byte(name), Kind: sandbox.TreeFile, Mode: 0o644, Size: benchSize, MTime: time.Unix(1e9, 0)})
		s.Content[name] = data
	}
	return s
}

// discarding takes everything and keeps nothing.
type discarding struct{ bytes int64 }

func (d *discarding) Tree(entries []sandbox.TreeEntry) (want []int, err error) {
	for i, e := range entries {
		if e.Kind == sandbox.TreeFile {
			want = append(want, i)
		}
	}
	return want, nil
}

func (d *discarding) File(_ int, _ sandbox.TreeEntry, r io.Reader) error {
	n, err := io.Copy(io.Discard, r)
	d.bytes += n
	return err
}

// onHost writes a tree into a folder of the host.
func onHost(b *testing.B, s *sandboxtest.Source) string {
	b.Helper()
	root := b.TempDir()
	for i, e := range s.Entries {
		at := filepath.Join(root, string(e.Name))
		err := error(nil)
		if e.Kind == sandbox.TreeDir {
			err = os.Mkdir(at, 0o700)
		} else {
			err = os.WriteFile(at, s.Content[string(e.Name)], 0o600)
		}
		if err != nil {
			b.Fatal(i, err)
		}
	}
	return root
}

// shellTime runs a script on the host and gives the time that it took.
func shellTime(b *testing.B, script string) time.Duration {
	b.Helper()
	begin := time.Now()
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil { //nolint:gosec // the benchmark's own
		b.Fatalf("%s: %v: %s", script, err, out)
	}
	return time.Since(begin)
}

// inBox runs a script in a box with as much CPU as there is, and gives the time.
func inBox(b *testing.B, r *Runner, box, script string) time.Duration {
	b.Helper()
	_, d := sandboxed(b, r, sandbox.Spec{Argv: []string{"sh", "-c", "echo; " + script}, Box: box, Limits: sandbox.Limits{CPUs: archiveCPUs, Memory: archiveMemory}})
	return d
}

func speed(b *testing.B, name string, s *series) {
	b.ReportMetric(benchFiles*benchSize/1e6/s.at(50).Seconds(), name+"-MB/s")
}

// BenchmarkSave is a workspace to a worker that throws it away, from a sandbox
// that is started for it and from one that the box keeps, against tar in a
// sandbox and on the host, whose output is thrown away as well, and on the host
// into a file.
func BenchmarkSave(b *testing.B) {
	r := open(b, nil)
	tree := benchTree()
	host := onHost(b, tree)
	if err := r.Replace(b.Context(), "bench", "k", tree); err != nil {
		b.Fatal(err)
	}
	var cold, kept, boxed, hosted, filed series
	save := func(s *series) {
		d, begin := &discarding{}, time.Now()
		if _, _, err := r.Save(b.Context(), "bench", sandbox.TreeLimits{}, d); err != nil || d.bytes != benchFiles*benchSize {
			b.Fatal(d.bytes, err)
		}
		s.add(time.Since(begin))
	}
	const tar = "tar cf - . | cat >/dev/null"
	for b.Loop() {
		discardKept(r, "bench")
		save(&cold)
		boxed.add(inBox(b, r, "bench", tar))
		save(&kept)
		hosted.add(shellTime(b, "cd "+host+" && "+tar))
		filed.add(shellTime(b, "tar cf "+host+".tar -C "+host+" ."))
	}
	cold.report(b, "save")
	speed(b, "save", &cold)
	speed(b, "save-kept", &kept)
	speed(b, "tar-sandbox", &boxed)
	speed(b, "tar-host", &hosted)
	ratio(b, "save-to-tar-sandbox", &cold, &boxed)
	ratio(b, "save-to-tar-host", &cold, &hosted)
	ratio(b, "save-to-tar-host-file", &cold, &filed)
	ratio(b, "kept-to-tar-host", &kept, &hosted)
	if err := r.Close(b.Context(), "bench"); err != nil {
		b.Error(err)
	}
}

// discardKept takes away the sandbox that a box keeps.
func discardKept(r *Runner, box string) {
	if s := r.box(box).takeKept(); s != nil {
		s.discard()
	}
	settle(r)
}

// BenchmarkReplace is a workspace out of memory into a box, with all that comes
// before and after it, against tar in a sandbox and on the host.
func BenchmarkReplace(b *testing.B) {
	r := open(b, nil)
	tree := benchTree()
	host := onHost(b, tree)
	archive := filepath.Join(b.TempDir(), "tar")
	shellTime(b, "tar cf "+archive+" -C "+host+" .")
	if err := r.Replace(b.Context(), "tar", "k", tree); err != nil {
		b.Fatal(err)
	}
	inBox(b, r, "tar", "tar cf tar d*")
	var ours, boxed, hosted series
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if err := r.Replace(b.Context(), "bench", fmt.Sprint(i), tree); err != nil {
			b.Fatal(err)
		}
		ours.add(time.Since(begin))
		boxed.add(inBox(b, r, "tar", fmt.Sprintf("mkdir x%d && tar xf tar -C x%d", i, i)))
		hosted.add(shellTime(b, fmt.Sprintf("mkdir %s/x%d && tar xf %s -C %s/x%d", host, i, archive, host, i)))
		b.StopTimer()
		inBox(b, r, "tar", fmt.Sprintf("rm -rf x%d", i))
		shellTime(b, fmt.Sprintf("rm -rf %s/x%d", host, i))
		b.StartTimer()
	}
	ours.report(b, "replace")
	speed(b, "replace", &ours)
	speed(b, "untar-sandbox", &boxed)
	speed(b, "untar-host", &hosted)
	ratio(b, "replace-to-untar-sandbox", &ours, &boxed)
	ratio(b, "replace-to-untar-host", &ours, &hosted)
	for _, box := range []string{"bench", "tar"} {
		if err := r.Close(b.Context(), box); err != nil {
			b.Error(err)
		}
	}
}

package docker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/tree"
)

// BenchmarkSnapshot is a workspace from its sandbox into a store of files and back,
// with all that comes before and after, next to what somebody would do without us:
// tar in a container, through the engine, into a file and out of it. Each save goes to
// an empty store, and the one after it to the same, with every hundredth file changed.
func BenchmarkSnapshot(b *testing.B) {
	r := open(b, nil)
	if err := r.Replace(b.Context(), benchRequest("").Run.ID(), "k", benchTree()); err != nil {
		b.Fatal(err)
	}
	var first, again, back, tar, synced, untar, host series
	hosted := onHost(b, benchTree())
	dir := b.TempDir()
	peer := tarBox(b, hosted)
	for i := 0; b.Loop(); i++ {
		store, err := file.Open(file.Config{Dir: filepath.Join(dir, fmt.Sprint(i))})
		if err != nil {
			b.Fatal(err)
		}
		w, err := tree.New(tree.Config{Runner: r, Blobs: store})
		if err != nil {
			b.Fatal(err)
		}
		save := func(s *series, before *wflo.SnapshotPart) wflo.SnapshotPart {
			begin := time.Now()
			p, ok, err := w.Save(b.Context(), benchRequest(fmt.Sprint(i)), before)
			if err != nil || !ok {
				b.Fatal(ok, err)
			}
			s.add(time.Since(begin))
			return p
		}
		archive := filepath.Join(dir, "tar")
		host.add(shellTime(b, "tar cf "+archive+" -C "+hosted+" ."))
		begin := time.Now()
		shellTime(b, "docker exec -u 0 "+peer+" tar cf - -C /workspace . > "+archive)
		tar.add(time.Since(begin))
		shellTime(b, "sync "+archive)
		synced.add(time.Since(begin))
		p := save(&first, nil)
		inBox(b, r, benchRequest("").Run.ID(), fmt.Sprintf("for d in d*; do head -c %d /dev/urandom > $d/f%02d; done", benchSize, i%100))
		save(&again, &p)
		begin = time.Now()
		if err := w.Restore(b.Context(), benchRequest(fmt.Sprint("r", i)), p); err != nil {
			b.Fatal(err)
		}
		back.add(time.Since(begin))
		untar.add(shellTime(b, fmt.Sprintf("docker exec -i -u 0 %s sh -c 'mkdir /workspace/x%d && tar xf - -C /workspace/x%d' < %s", peer, i, i, archive)))
		b.StopTimer()
		shellTime(b, fmt.Sprintf("docker exec -u 0 %s rm -rf /workspace/x%d", peer, i))
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
		os.RemoveAll(filepath.Join(dir, fmt.Sprint(i)))
		b.StartTimer()
	}
	first.report(b, "first")
	again.report(b, "again")
	back.report(b, "restore")
	tar.report(b, "tar")
	untar.report(b, "untar")
	ratio(b, "first-to-tar", &first, &tar)
	ratio(b, "first-to-tar-synced", &first, &synced)
	ratio(b, "first-to-tar-host", &first, &host)
	ratio(b, "first-to-again", &first, &again)
	ratio(b, "restore-to-untar", &back, &untar)
	if err := r.Close(b.Context(), benchRequest("").Run.ID()); err != nil {
		b.Error(err)
	}
}

func benchRequest(key string) activities.PartRequest {
	return activities.PartRequest{Key: key, Run: wflo.Run{WorkflowID: "bench", FirstRunID: "1"}}
}

// tarBox is a container with a tree in a volume, as long as the benchmark runs.
func tarBox(b *testing.B, hosted string) string {
	b.Helper()
	out, err := exec.Command("docker", "run", "-d", "--network", "none", "-v", "/workspace", DefaultImage, "sleep", "3600").Output()
	if err != nil {
		b.Fatal(err)
	}
	id := strings.TrimSpace(string(out))
	b.Cleanup(func() { shellTime(b, "docker rm -fv "+id) })
	shellTime(b, "tar cf - -C "+hosted+" . | docker exec -i -u 0 "+id+" tar xf - -C /workspace")
	return id
}

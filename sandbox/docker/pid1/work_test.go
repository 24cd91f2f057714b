package pid1

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestFiles(t *testing.T) {
	b := open(t)
	if r := b.run(script("mkdir dir; ln -s /etc link; ln -s /etc/passwd over; echo old >gone; mkfifo pipe; echo x >stay")); !r.exitedWell() {
		t.Fatalf("%+v %s", r.ExitMsg, r.stderr)
	}
	m := script("cat /run/wflo/main.sh link/in over; stat -c %a over; rm gone; ln stay hard; echo new >made; mkdir out; echo 1 >out/1.csv; ln -s 1.csv out/2.csv; head -c 2000 /dev/zero >out/3.csv")
	m.Artifacts, m.ArtifactBytes = []string{"out/*.csv", "over"}, 100
	if err := b.w.Send(frame.Job, m); err != nil {
		t.Fatal(err)
	}
	b.file(frame.FileMsg{Name: "main.sh", Where: frame.Scratch}, "scratch\n")
	b.file(frame.FileMsg{Name: "link/in"}, "in\n")
	b.file(frame.FileMsg{Name: "over", Mode: 0o4777}, "over\n")
	if err := b.w.Write(frame.Start, 0, nil); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	r := b.wait(collect(files))
	if want := "scratch\nin\nover\n755\n"; r.stdout != want {
		t.Errorf("stdout %q, want %q; stderr %q", r.stdout, want, r.stderr)
	}
	if diff := cmp.Diff(map[string]string{"out/1.csv": "1\n", "over": "over\n"}, files); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"out/3.csv"}, r.ArtifactsMissed); diff != "" {
		t.Errorf("artifacts missed (-want +got):\n%s", diff)
	}
	changed := []sandbox.Change{
		{Name: "gone", Op: "removed"}, {Name: "hard", Op: "added", Size: 2}, {Name: "made", Op: "added", Size: 4},
		{Name: "out/1.csv", Op: "added", Size: 2}, {Name: "out/2.csv", Op: "added", Size: 5}, {Name: "out/3.csv", Op: "added", Size: 2000},
		{Name: "stay", Op: "changed", Size: 2},
	}
	if diff := cmp.Diff(changed, r.Changed); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"over": "over\n", "nosuch": "missing", "out/2.csv": "irregular", "pipe": "irregular", "dir": "irregular", "out/3.csv": "large", "../etc/passwd": "missing",
	} {
		if got := b.get(name); got != want {
			t.Errorf("Get %s gave %q, want %q", name, got, want)
		}
	}
	b.put("dir", "a folder is in the way")
	if f := b.read(); f.Type != frame.Refused || f.Stream != 3 {
		t.Errorf("Put over a folder gave a frame of type %d on stream %d, want Refused on 3", f.Type, f.Stream)
	}
	if err := b.w.Send(frame.Job, script("true")); err != nil {
		t.Fatal(err)
	}
	b.file(frame.FileMsg{Name: "big"}, strings.Repeat("x", 17<<20))
	if err := b.w.Write(frame.Start, 0, nil); err != nil {
		t.Fatal(err)
	}
	if r := b.wait(nil); r.Outcome != sandbox.DiskFull {
		t.Errorf("a file that does not fit gave %+v, want disk_full", r.ExitMsg)
	}
}

func (r result) exitedWell() bool { return r.Outcome == sandbox.Succeeded }

// get asks for a file and gives its content, or the code of the refusal.
func (b *box) get(name string) string {
	b.t.Helper()
	if err := b.w.Send(frame.Get, frame.GetMsg{Name: name, Limit: 1000}); err != nil {
		b.t.Fatal(err)
	}
	content := ""
	for {
		switch f := b.read(); f.Type {
		case frame.FileData:
			content += string(f.Data)
		case frame.FileEnd:
			return content
		case frame.Refused:
			var m frame.RefusedMsg
			if err := f.Decode(&m); err != nil {
				b.t.Fatal(err)
			}
			return m.Code
		}
	}
}

func TestStdin(t *testing.T) {
	b := open(t)
	for name, c := range map[string]struct {
		script, want string
		code         int
	}{
		"read":     {"wc -c", "3000000\n", 0},
		"not read": {"exec <&-; echo x; sleep 0.2", "x\n", 0},
		"ignored":  {"sleep 0.2; exit 4", "", 4},
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			m := script(c.script)
			m.Stdin = true
			b.start(m)
			grants := make(chan int, 1000)
			ended, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				left, window := 3_000_000, frame.InitialWindow
				for left > 0 {
					n := min(left, window, frame.MaxData)
					if n == 0 {
						select {
						case more := <-grants:
							window += more
						case <-ended:
							return
						}
						continue
					}
					_ = b.w.Write(frame.Stdin, 0, make([]byte, n))
					left, window = left-n, window-n
				}
				_ = b.w.Write(frame.StdinEnd, 0, nil)
			}()
			r := b.wait(func(f frame.Frame) {
				var m frame.WindowMsg
				if f.Type == frame.Window && f.Decode(&m) == nil {
					grants <- m.Bytes
				}
			})
			close(ended)
			<-done // what it still writes must not be input of the next program
			if r.stdout != c.want || r.Code != c.code {
				t.Errorf("got %q and code %d (%s), want %q and %d", r.stdout, r.Code, r.Outcome, c.want, c.code)
			}
		})
	}
}

// client talks to the proxy port: it sends, ends its side, and prints the answer.
const client = `
import socket
s = socket.create_connection(("127.0.0.1", 3128))
s.sendall(b"x" * 1000000)
s.shutdown(socket.SHUT_WR)
n = 0
while True:
    p = s.recv(65536)
    if not p: break
    n += len(p)
print(n)
held = [socket.create_connection(("127.0.0.1", 3128)) for i in range(300)]
for h in held: h.setblocking(False)
kept = list(held)
while len(kept) > 256:
    for h in list(kept):
        try:
            if not h.recv(1): kept.remove(h)
        except BlockingIOError: pass
        except ConnectionResetError: kept.remove(h)
print(len(kept))
`

func TestNetwork(t *testing.T) {
	b := open(t)
	m := python(client)
	m.Network = true
	b.start(m)
	opened, got := 0, 0
	r := b.wait(func(f frame.Frame) {
		switch f.Type {
		case frame.NetOpen:
			opened++
		case frame.NetData:
			got += len(f.Data)
			if err := b.w.SendTo(frame.Window, f.Stream, frame.WindowMsg{Bytes: len(f.Data)}); err != nil {
				t.Error(err)
			}
		case frame.NetEnd:
			if f.Stream == 1 {
				for _, p := range [][]byte{make([]byte, frame.MaxData), []byte("end")} {
					if err := b.w.Write(frame.NetData, 1, p); err != nil {
						t.Error(err)
					}
				}
				if err := b.w.Write(frame.NetEnd, 1, nil); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if want := "65539\n256\n"; r.stdout != want || got != 1_000_000 || opened != 1+256 {
		t.Errorf("stdout %q, %d bytes, %d connections; want %q, 1000000, 257; stderr %q", r.stdout, got, opened, want, r.stderr)
	}
	if r := b.run(python(client)); !strings.Contains(r.stderr, "Connection refused") {
		t.Errorf("a job without network could connect: %q %q", r.stdout, r.stderr)
	}
}

func TestQuota(t *testing.T) {
	b := open(t)
	for name, text := range map[string]string{
		"files":   "head -c 3000000 /dev/zero >x; sleep 100",
		"deleted": "exec 3>x; rm x; head -c 3000000 /dev/zero >&3; sleep 100",
		"quick":   "head -c 3000000 /dev/zero >x",
		"deep":    "i=0; while [ $i -lt 200 ]; do mkdir d; cd d; i=$((i+1)); done; sleep 100",
		"before":  "echo never",
		// The first thread is gone, and with it what can be seen of the process at once.
		"thread": `exec python3 -c '
import ctypes, os, platform, threading, time
def hold():
    f = open("x", "wb", 0); os.unlink("x"); f.write(bytes(3000000)); time.sleep(100)
threading.Thread(target=hold).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)'`,
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			if name == "before" {
				b.run(script("head -c 3000000 /dev/zero >x"))
			}
			m := script(text)
			m.Workspace = 1 << 20
			r := b.run(m)
			if r.Outcome != sandbox.DiskFull || r.stdout != "" || strings.Join(r.Hit, " ") != "workspace" {
				t.Errorf("got %+v, want disk_full", r.ExitMsg)
			}
			if r := b.run(script("rm -rf /workspace/*")); !r.exitedWell() {
				t.Errorf("clean up: %+v", r.ExitMsg)
			}
		})
	}
}

// What the engine begins in a sandbox hides its files from PID 1 until it is the
// program that was asked for: runc does so against whoever is in there. That is not
// the doing of the program that runs, which ends as it likes.
func TestQuotaBesideExec(t *testing.T) {
	b := open(t)
	m := script("until [ -e go ]; do sleep 0.05; done")
	m.Workspace = 1 << 20
	b.start(m)
	hides := exec.Command("docker", "exec", b.id, "python3", "-c", "import ctypes, time\nctypes.CDLL(None).prctl(4, 0)\nprint('hidden', flush=True)\ntime.sleep(100)")
	out, err := hides.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hides.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hides.Process.Kill()
		_ = hides.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "hidden\n" {
		t.Fatalf("docker exec said %q, %v", line, err)
	}
	reports := 0
	r := b.wait(func(f frame.Frame) {
		// PID 1 has looked many times between two of them.
		if f.Type != frame.Usage {
			return
		}
		if reports++; reports == 3 {
			if _, err := docker(t.Context(), nil, "exec", b.id, "touch", "/workspace/go"); err != nil {
				t.Error(err)
			}
		}
	})
	if !r.exitedWell() || reports < 3 {
		t.Errorf("after %d reports got %+v, want success", reports, r.ExitMsg)
	}
}

func TestUsage(t *testing.T) {
	b := open(t)
	m := python("import time\nx=bytearray(50<<20)\nt=time.time()\nwhile time.time()-t<1.5 or time.process_time()<0.6: pass")
	r := b.run(m)
	if r.usages == 0 || r.PeakMemory < 50<<20 || r.CPUTime < 500*time.Millisecond || r.Duration < 1500*time.Millisecond {
		t.Errorf("%d reports, peak %d, CPU %v, duration %v", r.usages, r.PeakMemory, r.CPUTime, r.Duration)
	}
}

func TestQuit(t *testing.T) {
	b := open(t)
	b.start(script("sleep 100"))
	if err := b.w.Write(frame.Quit, 0, nil); err != nil {
		t.Fatal(err)
	}
	if out, err := docker(t.Context(), nil, "wait", b.id); out != "0" || err != nil {
		t.Errorf("after Quit the container ended with %q, %v, want 0", out, err)
	}
	b = open(t)
	if err := b.w.Raw(bytes.Repeat([]byte{255}, 20)); err != nil {
		t.Fatal(err)
	}
	if out, err := docker(t.Context(), nil, "wait", b.id); out != "1" || err != nil {
		t.Errorf("after nonsense the container ended with %q, %v, want 1", out, err)
	}
}

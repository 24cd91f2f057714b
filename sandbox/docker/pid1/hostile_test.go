package pid1

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// signals sends PID 1 every signal in both ways: as kill does, and queued with a
// code that makes it look like a fault.
const signals = `
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
for round in range(50):
    for n in range(1, 65):
        try: os.kill(1, n)
        except OSError as e: print("kill", n, e)
        info = struct.pack("=iii", n, 0, -1).ljust(128, b"\0")
        libc.syscall(129, 1, n, info)
        libc.syscall(297, 1, 1, n, info)
print("sent")
`

func TestSignals(t *testing.T) {
	b := open(t)
	for range 3 {
		if r := b.run(python(signals)); r.stdout != "sent\n" || r.Outcome != sandbox.Succeeded {
			t.Fatalf("got %v, stdout %q, stderr %q", r.Outcome, r.stdout, r.stderr)
		}
	}
}

// ownSignals is a program that prints which signals it was started with blocked
// or ignored, without a shell that would change them.
func ownSignals() frame.JobMsg {
	m := script("")
	m.Argv = [][]byte{[]byte("grep"), []byte("-E"), []byte("SigBlk|SigIgn"), []byte("/proc/self/status")}
	return m
}

const noSignals = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"

// deaf ignores every signal, those that the C library keeps for itself too, and
// becomes PID 1.
const deaf = `
import ctypes, os, platform, struct
call = {"x86_64": 13, "aarch64": 134}[platform.machine()]
for n in range(1, 65):
    ctypes.CDLL(None).syscall(call, n, struct.pack("=QQQQ", 1, 0, 0, 0), None, 8)
os.execv("` + runner + `", ["` + runner + `"])
`

// An engine hands on which signals it was started with ignored.
func TestDeafEngine(t *testing.T) {
	b := openAs(t, "python3", "-c", deaf)
	if r := b.run(ownSignals()); r.stdout != noSignals || r.Outcome != sandbox.Succeeded {
		t.Errorf("got %v, stdout %q, stderr %q", r.Outcome, r.stdout, r.stderr)
	}
}

// processes counts them when the shell has one child, however fast that is: PID 1,
// the shell and ls.
const processes = "ls /proc >/tmp/all; grep -c '^[0-9]' /tmp/all"

func TestProcesses(t *testing.T) {
	b := open(t)
	count := python(`
import os, time
n = 1
while True:
    try:
        if os.fork() == 0: time.sleep(100)
    except OSError: break
    n += 1
print(n)
`)
	for range 2 {
		r := b.run(count)
		if n, err := strconv.Atoi(strings.TrimSpace(r.stdout)); err != nil || n > 80 || n < 77 || !slices.Contains(r.Hit, "pids") {
			t.Fatalf("a program with a limit of 80 processes had %q and hit %q; stderr %q", r.stdout, r.Hit, r.stderr)
		}
	}
	bomb := script("b() { b | b & }; b; sleep 100")
	bomb.Timeout = 2 * time.Second
	for range 2 {
		r := b.run(bomb)
		if r.Outcome != sandbox.Timeout && r.Outcome != sandbox.Nonzero || r.Spent {
			t.Fatalf("a fork bomb gave %+v", r.ExitMsg)
		}
		if !slices.Contains(r.Hit, "pids") {
			t.Errorf("a fork bomb hit %q", r.Hit)
		}
	}
	if r := b.run(script(processes)); r.stdout != "3\n" {
		t.Errorf("after the bombs there are %q processes", r.stdout)
	}
}

func TestKillWhileNobodyReads(t *testing.T) {
	b := open(t)
	b.start(script("yes"))
	for b.read().Type != frame.Stdout {
	}
	// The program fills every pipe on the way and then waits; so does PID 1.
	if err := b.w.Send(frame.Kill, frame.KillMsg{Reason: sandbox.Cancelled}); err != nil {
		t.Fatal(err)
	}
	if r := b.wait(nil); r.Outcome != sandbox.Cancelled || r.Signal != 9 {
		t.Errorf("got %+v, want cancelled", r.ExitMsg)
	}
	if err := b.w.Write(frame.Start, 0, nil); err != nil {
		t.Fatal(err)
	}
	if f := b.read(); f.Type != frame.Refused {
		t.Errorf("Start without a job gave a frame of type %d, want Refused", f.Type)
	}
}

func TestAdopt(t *testing.T) {
	b := open(t)
	m := script("echo one; read line; echo $line; while [ ! -e go ]; do sleep 0.01; done; echo out >a.txt; echo three; exit 5")
	m.Key, m.Stdin, m.Artifacts, m.ArtifactBytes = "k", true, []string{"*.txt"}, 1000
	b.start(m)
	for b.read().Type != frame.Stdout {
	}
	if err := b.w.Write(frame.Stdin, 0, []byte("two\n")); err != nil {
		t.Fatal(err)
	}
	if err := b.w.Write(frame.StdinEnd, 0, nil); err != nil {
		t.Fatal(err)
	}
	for f := b.read(); !bytes.Equal(f.Data, []byte("two\n")); f = b.read() {
	}
	// The worker dies in the middle of a frame.
	var cut bytes.Buffer
	if err := frame.NewWriter(&cut).Write(frame.Stdin, 7, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := b.w.Raw(cut.Bytes()[:500]); err != nil {
		t.Fatal(err)
	}
	for round, want := range []string{"one\ntwo\n", "one\ntwo\nthree\n"} {
		b.leave()
		b.owner = attach(t, "attach", "--sig-proxy=false", b.id)
		if got := b.adopt("k"); !got.OK {
			t.Fatalf("round %d: not adopted: %s", round, got.Reason)
		}
		if round == 0 {
			for got := ""; got != want; {
				if f := b.read(); f.Type == frame.Stdout {
					got += string(f.Data)
				}
			}
			b.put("go", "")
			for b.read().Type != frame.Done { // or the client takes it along
			}
			continue
		}
		files := map[string]string{}
		r := b.wait(collect(files))
		if r.stdout != want || r.Code != 5 || r.Outcome != sandbox.Nonzero {
			t.Errorf("round %d: got %+v with output %q, want code 5 and %q", round, r.ExitMsg, r.stdout, want)
		}
		if diff := cmp.Diff(map[string]string{"a.txt": "out\n"}, files); diff != "" {
			t.Errorf("artifacts (-want +got):\n%s", diff)
		}
	}
	if got := b.adopt("other"); got.OK {
		t.Error("a job with another key was adopted")
	}
	m.Argv = script("read line; echo $line").Argv
	b.start(m)
	if got := b.adopt("k"); got.OK {
		t.Error("a job was adopted whose input is not there")
	}
	if r := b.wait(nil); r.Outcome != sandbox.Cancelled {
		t.Errorf("a job whose input never came ended as %s", r.Outcome)
	}
}

// adopt takes over as a new worker.
func (b *box) adopt(key string) (m frame.AdoptedMsg) {
	b.t.Helper()
	nonce := []byte("a nonce for " + key + strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := b.w.Raw(frame.Padding()); err != nil {
		b.t.Fatal(err)
	}
	if err := b.w.Send(frame.Adopt, frame.AdoptMsg{Key: key, Nonce: nonce}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.r.Sync(nonce); err != nil {
		b.t.Fatal(err)
	}
	f := b.read()
	if f.Type != frame.Adopted {
		b.t.Fatalf("a frame of type %d came after the nonce, want Adopted", f.Type)
	}
	if err := f.Decode(&m); err != nil {
		b.t.Fatal(err)
	}
	return m
}

// collect puts files that arrive into a map.
func collect(files map[string]string) func(frame.Frame) {
	name := ""
	return func(f frame.Frame) {
		switch f.Type {
		case frame.FileBegin:
			var m frame.FileMsg
			if f.Decode(&m) == nil {
				name = m.Name
				files[name] = ""
			}
		case frame.FileData:
			files[name] += string(f.Data)
		}
	}
}

// file sends a file.
func (b *box) file(m frame.FileMsg, content string) {
	b.t.Helper()
	m.Size = int64(len(content))
	if err := b.w.Send(frame.FileBegin, m); err != nil {
		b.t.Fatal(err)
	}
	for len(content) > 0 {
		n := min(len(content), frame.MaxData)
		if err := b.w.Write(frame.FileData, 0, []byte(content[:n])); err != nil {
			b.t.Fatal(err)
		}
		content = content[n:]
	}
	if err := b.w.Write(frame.FileEnd, 0, nil); err != nil {
		b.t.Fatal(err)
	}
}

// put puts a file into the workspace; the answer comes with the job's frames.
func (b *box) put(name, content string) {
	b.t.Helper()
	if err := b.w.Write(frame.Put, 0, nil); err != nil {
		b.t.Fatal(err)
	}
	b.file(frame.FileMsg{Name: name}, content)
	if err := b.w.Write(frame.PutEnd, 3, nil); err != nil {
		b.t.Fatal(err)
	}
}

//go:build linux

package warden

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// optionsVariable makes this test binary PID 1 of nothing: Run ends whatever its
// process started, and only that, because it is not PID 1.
const optionsVariable = "WFLO_WARDEN_TEST_OPTIONS"

func TestMain(m *testing.M) {
	if text := os.Getenv(optionsVariable); text != "" {
		var o Options
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			panic(err)
		}
		os.Exit(Run(o))
	}
	os.Exit(m.Run())
}

// child is Run in a process of its own, and the worker's end of its streams.
type child struct {
	t   testing.TB
	o   Options
	cmd *exec.Cmd
	in  io.WriteCloser
	w   *frame.Writer
	r   *frame.Reader
}

func spawnChild(t testing.TB, change func(*Options)) *child {
	t.Helper()
	root := t.TempDir()
	o := Options{
		Workspace: root + "/workspace", Scratch: root + "/scratch", Temp: []string{root + "/tmp"}, Cgroup: root + "/none",
		Proxy: "127.0.0.1:0", Silence: time.Minute, Keep: time.Minute,
	}
	for _, dir := range []string{o.Workspace, o.Scratch, o.Temp[0]} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(&o)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, o: o, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), optionsVariable+"="+string(text))
	c.cmd.Stderr = os.Stderr
	c.in, err = c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
	c.w, c.r = frame.NewWriter(c.in), frame.NewReader(out)
	c.until(frame.Hello)
	return c
}

// until reads up to a frame of a type.
func (c *child) until(want frame.Type) frame.Frame {
	c.t.Helper()
	for {
		f, err := c.r.Read()
		if err != nil {
			c.t.Fatalf("wait for a frame of type %d: %v", want, err)
		}
		if f.Type == want {
			return f
		}
	}
}

func (c *child) send(t frame.Type, message any) {
	c.t.Helper()
	if err := c.w.Send(t, message); err != nil {
		c.t.Fatal(err)
	}
}

func (c *child) write(t frame.Type, data string) {
	c.t.Helper()
	if err := c.w.Write(t, 0, []byte(data)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *child) exit() (m frame.ExitMsg) {
	c.t.Helper()
	if err := c.until(frame.Exit).Decode(&m); err != nil {
		c.t.Fatal(err)
	}
	return m
}

func shell(text string) frame.JobMsg {
	return frame.JobMsg{
		Argv: [][]byte{[]byte("sh"), []byte("-c"), []byte(text)}, Timeout: time.Minute, CPUTime: time.Minute, Output: 1000, OutputTotal: 1 << 20,
	}
}

func TestSilenceEndsIt(t *testing.T) {
	short := func(o *Options) { o.Silence, o.Keep = 100*time.Millisecond, 300*time.Millisecond }
	t.Run("idle", func(t *testing.T) {
		c := spawnChild(t, short)
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("ended with %v, want 0", err)
		}
	})
	t.Run("no input", func(t *testing.T) {
		c := spawnChild(t, short)
		_ = c.in.Close()
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("ended with %v, want 0", err)
		}
	})
	t.Run("while a job runs", func(t *testing.T) {
		c := spawnChild(t, short)
		began := time.Now()
		m := shell("sleep 0.6")
		m.Key = "k"
		c.send(frame.Job, m)
		c.write(frame.Start, "")
		_ = c.in.Close()
		if m := c.exit(); m.Outcome != sandbox.Succeeded {
			t.Errorf("the job ended as %+v, want succeeded", m)
		}
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("ended with %v, want 0", err)
		}
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("it ended after %v, before the job's 600 ms and 300 ms for its result", took)
		}
	})
}

// TestSilenceEndsWhatNobodyCanAdopt holds that a job without a key does not
// outlive its worker.
func TestSilenceEndsWhatNobodyCanAdopt(t *testing.T) {
	c := spawnChild(t, func(o *Options) { o.Silence = 100 * time.Millisecond })
	c.send(frame.Job, shell("sleep 1000"))
	c.write(frame.Start, "")
	_ = c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("ended with %v, want 0", err)
	}
}

func TestNothingIsLeft(t *testing.T) {
	c := spawnChild(t, nil)
	c.send(frame.Job, shell(`(setsid sh -c 'sleep 1000 & echo $! >pid; wait' >/dev/null &); while [ ! -s pid ]; do :; done; mkdir -p ../tmp/a/b/c; echo x >../tmp/a/b/c/d; chmod 0 ../tmp/a/b`))
	c.write(frame.Start, "")
	if m := c.exit(); m.Outcome != sandbox.Succeeded || m.Spent {
		t.Fatalf("got %+v", m)
	}
	pid, err := os.ReadFile(c.o.Workspace + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + string(pid[:len(pid)-1])); err == nil {
		t.Error("a daemon outlived its job")
	}
	if left, err := os.ReadDir(c.o.Temp[0]); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary folder: %v, %v", left, err)
	}
}

func TestWrongOrder(t *testing.T) {
	c := spawnChild(t, nil)
	for name, send := range map[string]func(){
		"no job":     func() { c.write(frame.Start, "") },
		"no Put":     func() { c.write(frame.PutEnd, "") },
		"not a job":  func() { c.write(frame.Job, "[") },
		"not for it": func() { c.write(frame.Hello, "") },
		"no nonce":   func() { c.send(frame.Adopt, frame.AdoptMsg{Key: "k"}) },
		"two jobs": func() {
			c.send(frame.Job, shell("sleep 100"))
			c.write(frame.Start, "")
			c.send(frame.Job, shell("true"))
		},
	} {
		send()
		var m frame.RefusedMsg
		if err := c.until(frame.Refused).Decode(&m); err != nil || m.Code != "protocol" {
			t.Errorf("%s: refused with %+v, %v, want protocol", name, m, err)
		}
		if name == "two jobs" {
			c.send(frame.Kill, frame.KillMsg{Reason: sandbox.Timeout})
			if m := c.exit(); m.Outcome != sandbox.Timeout {
				t.Errorf("killed for timeout, ended as %s", m.Outcome)
			}
		}
	}
	c.send(frame.Job, shell("true"))
	c.send(frame.Kill, frame.KillMsg{})
	if m := c.exit(); m.Outcome != sandbox.Cancelled {
		t.Errorf("killed before Start, ended as %s", m.Outcome)
	}
	c.write(frame.Start, "")
	c.send(frame.Job, shell("exit 9"))
	c.write(frame.Start, "")
	if m := c.exit(); m.Code != 9 {
		t.Errorf("the job after a killed one ended as %+v", m)
	}
}

func TestDamagedFileStopsTheJob(t *testing.T) {
	c := spawnChild(t, nil)
	c.send(frame.Job, shell("true"))
	c.send(frame.FileBegin, frame.FileMsg{Name: "a", Size: 1})
	if err := c.w.Raw([]byte{byte(frame.FileData), 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 'x'}); err != nil {
		t.Fatal(err)
	}
	c.write(frame.FileEnd, "")
	c.write(frame.Start, "")
	if m := c.exit(); m.Outcome != sandbox.StartFailed || m.Reason == "" {
		t.Errorf("got %+v, want start_failed", m)
	}
	if left, err := filepath.Glob(c.o.Workspace + "/*"); err != nil || len(left) > 0 {
		t.Errorf("left in the workspace: %v, %v", left, err)
	}
}

// BenchmarkOutput is how fast PID 1 turns output into frames, without an engine
// in between.
func BenchmarkOutput(b *testing.B) {
	c := spawnChild(b, nil)
	m := shell("head -c 1073741824 /dev/zero")
	m.OutputTotal = 1 << 31
	b.SetBytes(1 << 30)
	for b.Loop() {
		c.send(frame.Job, m)
		c.write(frame.Start, "")
		if m := c.exit(); m.Outcome != sandbox.Succeeded {
			b.Fatalf("%+v", m)
		}
	}
}

// Without cgroups the limit of CPU time holds by what the kernel says of processes.
func TestCPUTimeWithoutCgroups(t *testing.T) {
	c := spawnChild(t, nil)
	for _, text := range []string{"while :; do :; done", "while :; do sh -c 'i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done'; done"} {
		m := shell(text)
		m.CPUTime = 300 * time.Millisecond
		c.send(frame.Job, m)
		c.write(frame.Start, "")
		if m := c.exit(); m.Outcome != sandbox.CPUTimeout || m.CPUTime < 300*time.Millisecond || m.PeakMemory <= 0 {
			t.Errorf("%s: got %+v, want cpu_timeout", text, m)
		}
	}
}

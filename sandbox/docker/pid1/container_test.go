package pid1

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker/profile"
)

// image has a shell, Python and Node; deploy/setup.sh makes it.
const image = "wflo/sandbox:1"

// user is one that nobody else has: the kernel counts processes per user.
var user = strconv.Itoa(1<<30 + mathrand.IntN(1<<30))

// volume holds the binary for all tests of this process.
var volume = "wflo-pid1-test-" + strings.ToLower(rand.Text()[:12])

func TestMain(m *testing.M) {
	code := func() int {
		if err := fill(volume); err != nil {
			fmt.Fprintln(os.Stderr, "put PID 1 into a volume (is Docker there? deploy/setup.sh):", err)
			return 1
		}
		defer func() { _, _ = docker(context.Background(), nil, "volume", "rm", "--force", volume) }()
		return m.Run()
	}()
	os.Exit(code)
}

// docker runs the command line of the engine.
func docker(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// fill puts the binary into a new volume by way of a container that never runs.
func fill(volume string) error {
	ctx := context.Background()
	content, err := Binary(runtime.GOARCH)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "wflo-runner", Mode: 0o555, Size: int64(len(content)), Format: tar.FormatPAX}); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, err := docker(ctx, nil, "volume", "create", volume); err != nil {
		return err
	}
	id, err := docker(ctx, nil, "create", "--network", "none", "--volume", volume+":/wflo:nocopy", image, "true")
	if err != nil {
		return err
	}
	defer func() { _, _ = docker(ctx, nil, "rm", "--force", id) }()
	_, err = docker(ctx, &b, "cp", "-", id+":/wflo")
	return err
}

// box is a container with PID 1 in it, and the worker's end of the conversation.
type box struct {
	t  testing.TB
	id string
	*owner
}

// owner is one client that is attached.
type owner struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	w   *frame.Writer
	r   *frame.Reader
}

// open starts a container, locked down as the driver's are, and waits for PID 1.
func open(t testing.TB) *box {
	t.Helper()
	return openAs(t, runner)
}

// runner is where the tests' containers have PID 1.
const runner = "/wflo/wflo-runner"

// openAs is open with another way to come to PID 1.
func openAs(t testing.TB, entrypoint ...string) *box {
	t.Helper()
	mine := "uid=" + user
	var created struct {
		ID string `json:"Id"`
	}
	// The command line cannot make a container whose input outlives a client.
	request(t, "/containers/create", map[string]any{
		"Image": image, "Entrypoint": entrypoint, "Env": []string{"OF_PID_1=yes"}, "User": user + ":" + user,
		"OpenStdin": true, "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
		"HostConfig": map[string]any{
			"Binds": []string{volume + ":/wflo:ro"}, "CapDrop": []string{"ALL"}, "SecurityOpt": []string{"no-new-privileges", "seccomp=" + profile.Seccomp()},
			"ReadonlyRootfs": true, "NetworkMode": "none", "Memory": 128 << 20, "MemorySwap": 128 << 20, "PidsLimit": 80 + frame.PID1Threads,
			"LogConfig": map[string]any{"Type": "none"}, "ShmSize": 8 << 20,
			"Tmpfs": map[string]string{
				"/tmp": "rw,nosuid,nodev,size=16m,mode=1777", "/run/wflo": "rw,nosuid,nodev,size=4m,mode=0700," + mine,
				"/workspace": "rw,nosuid,nodev,size=16m,mode=0700," + mine,
			},
		},
	}, &created)
	t.Cleanup(func() {
		if _, err := docker(context.Background(), nil, "rm", "--force", "--volumes", created.ID); err != nil {
			t.Error(err)
		}
	})
	b := &box{t: t, id: created.ID, owner: attach(t, "start", "--attach", "--interactive", created.ID)}
	if f := b.read(); f.Type != frame.Hello {
		t.Fatalf("the first frame has type %d, want Hello", f.Type)
	}
	return b
}

// request asks the engine for what the command line does not offer.
func request(t testing.TB, path string, body, into any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			socket := strings.TrimPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock"), "unix://")
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	resp, err := client.Post("http://docker"+path, "application/json", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("POST %s: %s %v: %s", path, resp.Status, err, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		t.Fatal(err)
	}
}

// attach runs a client of the container's streams.
func attach(t testing.TB, args ...string) *owner {
	t.Helper()
	cmd := exec.Command("docker", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &owner{cmd: cmd, in: in, w: frame.NewWriter(in), r: frame.NewReader(out)}
	t.Cleanup(o.leave)
	return o
}

// leave ends the client as a crash would.
func (o *owner) leave() {
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
}

func (b *box) read() frame.Frame {
	b.t.Helper()
	f, err := b.r.Read()
	if err != nil {
		b.t.Fatalf("read a frame: %v", err)
	}
	return f
}

// script is a job that runs a shell script, with room enough.
func script(text string, args ...string) frame.JobMsg {
	m := frame.JobMsg{
		Argv: [][]byte{[]byte("sh"), []byte("-c"), []byte(text), []byte("sh")}, Env: [][]byte{[]byte("PATH=/usr/local/bin:/usr/bin:/bin")},
		Timeout: time.Minute, CPUTime: time.Minute, Output: 1 << 20, OutputTotal: 1 << 30,
	}
	for _, a := range args {
		m.Argv = append(m.Argv, []byte(a))
	}
	return m
}

func python(text string) frame.JobMsg {
	m := script("")
	m.Argv = [][]byte{[]byte("python3"), []byte("-c"), []byte(text)}
	return m
}

func (b *box) start(m frame.JobMsg) {
	b.t.Helper()
	if err := errors.Join(b.w.Send(frame.Job, m), b.w.Write(frame.Start, 0, nil)); err != nil {
		b.t.Fatal(err)
	}
}

// result is what came of a job.
type result struct {
	frame.ExitMsg
	stdout, stderr string
	usages         int
}

// wait reads until Exit. on is called with every frame before.
func (b *box) wait(on func(frame.Frame)) result {
	b.t.Helper()
	var stdout, stderr strings.Builder
	var r result
	for {
		f := b.read()
		if on != nil {
			on(f)
		}
		switch f.Type {
		case frame.Stdout:
			stdout.Write(f.Data)
		case frame.Stderr:
			stderr.Write(f.Data)
		case frame.Usage:
			r.usages++
		case frame.Refused:
			b.t.Fatalf("refused: %s", f.Data)
		case frame.Exit:
			if err := f.Decode(&r.ExitMsg); err != nil {
				b.t.Fatal(err)
			}
			r.stdout, r.stderr = stdout.String(), stderr.String()
			return r
		}
	}
}

func (b *box) run(m frame.JobMsg) result {
	b.t.Helper()
	b.start(m)
	return b.wait(nil)
}

func TestEnds(t *testing.T) {
	b := open(t)
	type want struct {
		outcome sandbox.Outcome
		code    int
		signal  int
		stdout  string
		hit     string
	}
	limited := func(m frame.JobMsg, change func(*frame.JobMsg)) frame.JobMsg {
		change(&m)
		return m
	}
	for _, c := range []struct {
		name string
		job  frame.JobMsg
		want want
	}{
		{"ok", script("echo hi; echo there >&2"), want{sandbox.Succeeded, 0, 0, "hi\n", ""}},
		{"nonzero", script("exit 3"), want{sandbox.Nonzero, 3, 0, "", ""}},
		{"exit 137", script("exit 137"), want{sandbox.Nonzero, 137, 0, "", ""}},
		{"killed from inside", script("kill -9 $$"), want{sandbox.Signalled, 137, 9, "", ""}},
		{"no program", limited(script(""), func(m *frame.JobMsg) { m.Argv = [][]byte{[]byte("nosuch")} }), want{sandbox.StartFailed, 127, 0, "", ""}},
		{"no permission", limited(script(""), func(m *frame.JobMsg) { m.Argv = [][]byte{[]byte("/etc/passwd")} }), want{sandbox.StartFailed, 126, 0, "", ""}},
		{"environment", script("env | grep -v ^PWD; pwd; id -u"), want{sandbox.Succeeded, 0, 0, "PATH=/usr/local/bin:/usr/bin:/bin\n/workspace\n" + user + "\n", ""}},
		// 3 is the folder that is listed.
		{"descriptors", python("import os; print(*sorted(os.listdir('/proc/self/fd')))"), want{sandbox.Succeeded, 0, 0, "0 1 2 3\n", ""}},
		// PID 1 takes it back for itself once the program has started, which may see that.
		{"first for the kernel", script("cat /proc/self/oom_score_adj; until grep -qx 0 /proc/1/oom_score_adj; do :; done; cat /proc/1/oom_score_adj"), want{sandbox.Succeeded, 0, 0, "1000\n0\n", ""}},
		{"umask", script("umask"), want{sandbox.Succeeded, 0, 0, "0022\n", ""}},
		{"signals", ownSignals(), want{sandbox.Succeeded, 0, 0, noSignals, ""}},
		{"timeout", limited(script("sleep 100"), func(m *frame.JobMsg) { m.Timeout = 200 * time.Millisecond }), want{sandbox.Timeout, 137, 9, "", "timeout"}},
		{"CPU time", limited(script("while :; do :; done"), func(m *frame.JobMsg) { m.CPUTime = 200 * time.Millisecond }), want{sandbox.CPUTimeout, 137, 9, "", "cpu_time"}},
		{"output limit", limited(script("yes"), func(m *frame.JobMsg) { m.OutputTotal = 7 }), want{sandbox.OutputLimit, 137, 9, "y\ny\ny\ny", "output"}},
		{"full tmp", script("cat /dev/zero >/tmp/x"), want{sandbox.DiskFull, 1, 0, "", "tmp"}},
		{"tmp is fresh", script("find /tmp /dev/shm /run/wflo; echo x >/tmp/y"), want{sandbox.Succeeded, 0, 0, "/tmp\n/dev/shm\n/run/wflo\n", ""}},
		{"daemon", script("(setsid sh -c 'sleep 100 & sleep 100' &) ; echo up"), want{sandbox.Succeeded, 0, 0, "up\n", ""}},
		{"nothing survives", script(processes), want{sandbox.Succeeded, 0, 0, "3\n", ""}},
		{"memory", python("x=bytearray(1<<30)"), want{sandbox.OutOfMemory, 137, 9, "", "memory"}},
		{"memory of a child", script("python3 -c 'x=bytearray(1<<30)'; echo $?; exit 7"), want{sandbox.Nonzero, 7, 0, "137\n", "memory"}},
		{"forged frames", script("echo x >/proc/1/fd/1; cat /proc/1/environ /proc/1/mem; echo end"), want{sandbox.Succeeded, 0, 0, "end\n", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			r := b.run(c.job)
			got := want{r.Outcome, r.Code, r.Signal, r.stdout, strings.Join(r.Hit, " ")}
			if got != c.want {
				t.Errorf("got %+v, want %+v; reason %q, stderr %q", got, c.want, r.Reason, r.stderr)
			}
			if r.Spent {
				t.Errorf("the sandbox is spent: %s", r.Reason)
			}
		})
	}
}

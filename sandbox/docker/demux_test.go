package docker

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/sandbox"
)

func frame(kind byte, text string) string {
	var b [8]byte
	b[0] = kind
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return string(b[:]) + text
}

func TestCapture(t *testing.T) {
	for name, c := range map[string]struct {
		in             string
		keep           int64
		stdout, stderr string
		dropped        int64 // of both
		started, fails bool
	}{
		"empty":            {keep: 10},
		"both":             {in: frame(2, marker) + frame(1, "out") + frame(2, "err"), keep: 10, stdout: "out", stderr: "err", started: true},
		"marker in pieces": {in: frame(2, marker[:5]) + frame(2, marker[5:]+"err"), keep: 10, stderr: "err", started: true},
		"noise":            {in: frame(2, "no such file"), keep: 4, stderr: "no such file"},
		"noise, marker":    {in: frame(2, "warning\n"+marker+"err"), keep: 100, stderr: "warning\nerr", started: true},
		"second marker":    {in: frame(2, marker+marker), keep: 100, stderr: marker, started: true},
		"over the limit":   {in: frame(2, marker) + frame(1, "12345") + frame(1, "67890"), keep: 7, stdout: "1234567", dropped: 3, started: true},
		"empty frame":      {in: frame(1, "") + frame(1, "a"), keep: 7, stdout: "a"},
		"cut character":    {in: frame(1, "aéé"), keep: 4, stdout: "aé", dropped: 2},
		"bad bytes":        {in: frame(1, "a\xff\xfe"), keep: 4, stdout: "a\uFFFD"},
		"cut header":       {in: "\x01\x00", keep: 4, fails: true},
		"cut frame":        {in: frame(1, "12345")[:10], keep: 4, stdout: "12", fails: true},
		"unknown kind":     {in: frame(3, "x"), keep: 4, fails: true},
		"huge frame":       {in: "\x01\x00\x00\x00\xff\xff\xff\xff", keep: 4, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			out := capture{stdout: stream{keep: c.keep}, stderr: stream{keep: c.keep}}
			err := out.read(strings.NewReader(c.in))
			if (err != nil) != c.fails {
				t.Errorf("read: %v", err)
			}
			stdout, d1 := out.stdout.text()
			stderr, d2 := out.stderr.text()
			if stdout != c.stdout || stderr != c.stderr || d1+d2 != c.dropped || out.started != c.started {
				t.Errorf("got %q %q, %d dropped, started %v", stdout, stderr, d1+d2, out.started)
			}
		})
	}
}

func FuzzCapture(f *testing.F) {
	f.Add([]byte(frame(2, marker)+frame(1, "aé\xff")), int64(3))
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff"), int64(1))
	f.Fuzz(func(t *testing.T, in []byte, keep int64) {
		keep = 1 + (keep&0xffff+0xffff)%0xffff
		var watched int64
		out := capture{stdout: stream{keep: keep}, stderr: stream{keep: keep}, watch: func(_ sandbox.Stream, p []byte) { watched += int64(len(p)) }}
		_ = out.read(bytes.NewReader(in)) // any input may be refused
		for _, s := range []*stream{&out.stdout, &out.stderr} {
			if int64(len(s.buf)) > max(keep, maxNoise) {
				t.Fatalf("kept %d bytes of %d", len(s.buf), keep)
			}
			if text, dropped := s.text(); !utf8.ValidString(text) || dropped < 0 || dropped > int64(len(in)) {
				t.Fatalf("text %q, %d dropped", text, dropped)
			}
		}
		if watched > 2*keep {
			t.Fatalf("watched %d bytes", watched)
		}
	})
}

func TestMeter(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  usage
	}{
		"none": {},
		"version 1": {map[string]string{
			"memory/docker/ID/memory.max_usage_in_bytes": "4096\n", "cpuacct/docker/ID/cpuacct.usage": "7000000\n",
			"memory/docker/ID/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		}, usage{4096, 7 * time.Millisecond, 2}},
		"version 2": {map[string]string{
			"system.slice/docker-ID.scope/memory.peak": "8192\n", "system.slice/docker-ID.scope/cpu.stat": "usage_usec 9000\nuser_usec 1\n",
			"system.slice/docker-ID.scope/memory.events": "low 0\noom 1\noom_kill 1\n",
		}, usage{8192, 9 * time.Millisecond, 1}},
		"nonsense": {map[string]string{"docker/ID/memory.peak": "many\n", "docker/ID/cpu.stat": "usage_usec x\n"}, usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			m := openMeter(root, "ID")
			defer m.close()
			if m.read(); m.last != c.want {
				t.Errorf("read %+v, want %+v", m.last, c.want)
			}
		})
	}
}

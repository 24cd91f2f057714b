//go:build linux

package warden

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCgroup(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"version 1": {
			"cpuacct/cpuacct.usage": "5000000\n", "memory/memory.usage_in_bytes": "7\n", "memory/memory.max_usage_in_bytes": "9\n",
			"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "pids/pids.current": "4\n", "pids/pids.events": "max 6\n",
		},
		"version 2": {
			"cgroup.controllers": "cpu\n", "cpu.stat": "usage_usec 5000\nuser_usec 1\n", "memory.current": "7\n", "memory.peak": "9\n",
			"memory.events": "low 0\noom 8\noom_kill 3\noom_group_kill 1\n", "pids.current": "4\n", "pids.events": "max 6\n",
		},
		"none": {},
	} {
		root := t.TempDir()
		for file, content := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := openCgroup(root)
		got := [6]int64{int64(c.cpuTime()), c.memory.read(), c.peak.read(), c.oom.read(), c.pids.read(), c.pidsMax.read()}
		want := [6]int64{int64(5 * time.Millisecond), 7, 9, 3, 4, 6}
		if name == "none" {
			want = [6]int64{-1, -1, -1, -1, -1, -1}
		}
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

package admission

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestMachineMemory(t *testing.T) {
	const (
		meminfo = "MemTotal:        1000 kB\nMemFree:          10 kB\n"
		two     = "30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		one     = "31 1 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n35 1 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		inside  = "35 1 0:31 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
	)
	for name, tt := range map[string]struct {
		files map[string]string
		want  int64
		err   string
	}{
		"no cgroups":       {map[string]string{}, 1000 << 10, ""},
		"two, none":        {map[string]string{"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": two, "sys/fs/cgroup/a/b/memory.max": "max\n"}, 1000 << 10, ""},
		"two, own":         {map[string]string{"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": two, "sys/fs/cgroup/a/b/memory.max": "4096\n"}, 4096, ""},
		"two, above":       {map[string]string{"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": two, "sys/fs/cgroup/a/b/memory.max": "8192\n", "sys/fs/cgroup/a/memory.max": "4096\n"}, 4096, ""},
		"two, container":   {map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": two, "sys/fs/cgroup/memory.max": "4096\n"}, 4096, ""},
		"two, out of view": {map[string]string{"proc/self/cgroup": "0::/../x\n", "proc/self/mountinfo": two, "sys/fs/cgroup/memory.max": "4096\n"}, 4096, ""},
		"two, more":        {map[string]string{"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": two, "sys/fs/cgroup/a/memory.max": "9999999\n"}, 1000 << 10, ""},
		"one, none":        {map[string]string{"proc/self/cgroup": "4:memory:/a\n1:cpu:/\n", "proc/self/mountinfo": one, "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 1000 << 10, ""},
		"one, own":         {map[string]string{"proc/self/cgroup": "1:cpu:/\n4:memory,hugetlb:/a\n0::/\n", "proc/self/mountinfo": one, "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4096\n"}, 4096, ""},
		"one, container":   {map[string]string{"proc/self/cgroup": "4:memory:/docker/abc\n", "proc/self/mountinfo": inside, "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n"}, 4096, ""},
		"one, below it":    {map[string]string{"proc/self/cgroup": "4:memory:/docker/abc/d\n", "proc/self/mountinfo": inside, "sys/fs/cgroup/memory/d/memory.limit_in_bytes": "4096\n"}, 4096, ""},
		"one, namesake":    {map[string]string{"proc/self/cgroup": "4:memory:/docker/abcd\n", "proc/self/mountinfo": inside, "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n", "sys/fs/cgroup/memory/d/memory.limit_in_bytes": "1\n"}, 4096, ""},
		"not mounted":      {map[string]string{"proc/self/cgroup": "4:memory:/a\n", "proc/self/mountinfo": two}, 1000 << 10, ""},
		"not a number":     {map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": two, "sys/fs/cgroup/memory.max": "much\n"}, 0, "memory.max"},
		"nothing":          {map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": two, "sys/fs/cgroup/memory.max": "0\n"}, 0, "memory.max"},
		"no mounts":        {map[string]string{"proc/self/cgroup": "0::/\n"}, 0, "mountinfo"},
		"no total":         {map[string]string{"proc/meminfo": "MemFree: 10 kB\n"}, 0, "MemTotal"},
		"too large a one":  {map[string]string{"proc/meminfo": "MemTotal: 99999999999999999999 kB\n"}, 0, "meminfo"},
		"not Linux":        {map[string]string{"proc/meminfo": ""}, 0, "MemTotal"},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{"proc/meminfo": {Data: []byte(meminfo)}}
			for file, text := range tt.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			got, err := machineMemory(root)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("machineMemory = %d, %v, want an error about %s", got, err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("machineMemory = %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}

// FuzzMachineMemory looks for text that stops the reader.
func FuzzMachineMemory(f *testing.F) {
	f.Add("0::/a\n", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "max\n")
	f.Add("4:memory:/../..\n", "35 1 0:31 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "1\n")
	f.Fuzz(func(t *testing.T, groups, mounts, limit string) {
		root := fstest.MapFS{
			"proc/meminfo": {Data: []byte("MemTotal: 1000 kB\n")}, "proc/self/cgroup": {Data: []byte(groups)},
			"proc/self/mountinfo": {Data: []byte(mounts)}, "sys/fs/cgroup/memory.max": {Data: []byte(limit)},
		}
		if n, err := machineMemory(root); err == nil && (n <= 0 || n > 1000<<10) {
			t.Errorf("machineMemory = %d", n)
		}
	})
}

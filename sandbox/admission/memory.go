package admission

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// machineMemory is how many bytes the machine has, or the worker's own cgroup if
// that has fewer. root is the file system's root.
func machineMemory(root fs.FS) (int64, error) {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	var total int64
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			n, err := strconv.ParseInt(f[1], 10, 53)
			if err != nil {
				return 0, fmt.Errorf("read proc/meminfo: %w", err)
			}
			total = n << 10
		}
	}
	if total <= 0 {
		return 0, errors.New("read proc/meminfo: there is no MemTotal")
	}
	limit, err := cgroupMemory(root, total)
	if err != nil {
		return 0, err
	}
	return limit, nil
}

// cgroupMemory is the least of most and the memory limits of this process's
// cgroups and of those above them, in both versions of cgroups. A kernel
// without cgroups has no limits.
func cgroupMemory(root fs.FS, most int64) (int64, error) {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return most, nil
	} else if err != nil {
		return 0, err
	}
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(groups)) {
		// number:controllers:path, where version 2 has number 0 and no controllers.
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		kind, file := "cgroup", "memory.limit_in_bytes"
		if f[0] == "0" && f[1] == "" {
			kind, file = "cgroup2", "memory.max"
		} else if !slices.Contains(strings.Split(f[1], ","), "memory") {
			continue
		}
		mount, rel, ok := findMount(mounts, kind, f[2])
		if !ok {
			continue
		}
		if most, err = lowestLimit(root, mount, rel, file, most); err != nil {
			return 0, err
		}
	}
	return most, nil
}

// findMount finds where a cgroup hierarchy with memory is mounted, and the
// group's place below it. A container sees its own group as the mount's root.
func findMount(mountinfo []byte, kind, group string) (mount, rel string, ok bool) {
	scan := bufio.NewScanner(bytes.NewReader(mountinfo))
	for scan.Scan() {
		before, after, found := strings.Cut(scan.Text(), " - ")
		f, fsInfo := strings.Fields(before), strings.Fields(after)
		if !found || len(f) < 5 || len(fsInfo) < 3 || fsInfo[0] != kind {
			continue
		}
		if kind == "cgroup" && !slices.Contains(strings.Split(fsInfo[2], ","), "memory") {
			continue
		}
		rel = path.Clean("/" + group)
		if below, inside := strings.CutPrefix(rel+"/", strings.TrimSuffix(f[3], "/")+"/"); inside {
			rel = path.Clean("/" + below)
		} else {
			rel = "/" // the group is out of sight: only the mount's root is known
		}
		return f[4], rel, true
	}
	return "", "", false
}

// lowestLimit walks from a group up to the mount's root.
func lowestLimit(root fs.FS, mount, rel, file string, most int64) (int64, error) {
	for {
		name := strings.TrimPrefix(path.Join(mount, rel, file), "/")
		text, err := fs.ReadFile(root, name)
		switch word := strings.TrimSpace(string(text)); {
		case errors.Is(err, fs.ErrNotExist): // the root of version 2 has none, nor a group without the controller
		case err != nil:
			return 0, err
		case word != "max":
			n, err := strconv.ParseInt(word, 10, 64)
			if err != nil || n <= 0 {
				return 0, fmt.Errorf("read %s: %.40q is no limit", name, word)
			}
			most = min(most, n)
		}
		if rel == "/" {
			return most, nil
		}
		rel = path.Dir(rel)
	}
}

//go:build linux

package warden

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxCompared is how many files a workspace may have for changes to be listed.
const maxCompared = 50_000

// maxTold is how many bytes of names Exit lists, so that it fits into a frame
// however they are written there.
const maxTold = 256 << 10

// tree is a workspace at a moment: regular files and links by name.
type tree struct {
	files map[string]stamp
	count int
	bytes int  // of all names
	all   bool // false: it has more than we want to know
}

// stamp changes when a file does.
type stamp struct {
	size, mtime, ctime int64
	inode              uint64
	mode               uint32
}

func snapshot(root string) tree {
	t := tree{files: map[string]stamp{}}
	t.all = walk(root, func(name string, st *unix.Stat_t) bool {
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFREG && kind != unix.S_IFLNK {
			return true
		}
		t.count++
		t.bytes += len(name)
		t.files[name] = stamp{st.Size, st.Mtim.Nano(), st.Ctim.Nano(), st.Ino, st.Mode}
		return t.count < maxCompared && t.bytes < maxNames
	})
	return t
}

// changes lists what became of the files, sorted, and counts what is left out.
func changes(before, after tree) (list []sandbox.Change, more int) {
	if !before.all || !after.all {
		return nil, max(before.count, after.count, 1)
	}
	for name, now := range after.files {
		was, ok := before.files[name]
		switch {
		case !ok:
			list = append(list, sandbox.Change{Name: name, Op: "added", Size: now.size})
		case was != now:
			list = append(list, sandbox.Change{Name: name, Op: "changed", Size: now.size})
		}
	}
	for name := range before.files {
		if _, ok := after.files[name]; !ok {
			list = append(list, sandbox.Change{Name: name, Op: "removed"})
		}
	}
	slices.SortFunc(list, func(a, b sandbox.Change) int { return strings.Compare(a.Name, b.Name) })
	room := maxTold
	for i := range list {
		if room -= len(list[i].Name); i == sandbox.MaxChanged || room < 0 {
			return list[:i], len(list) - i
		}
		list[i].Name = strings.ToValidUTF8(list[i].Name, "\uFFFD")
	}
	return list, 0
}

// checkQuota stops a job whose workspace holds too much, and says so.
func (j *job) checkQuota() error {
	if j.msg.Workspace <= 0 {
		return nil
	}
	used, all := occupied(j.w.o.Workspace)
	reason := ""
	switch {
	case used > j.msg.Workspace:
		reason = fmt.Sprintf("the workspace holds %d bytes, more than %d", used, j.msg.Workspace)
	case !all:
		reason = fmt.Sprintf("the workspace has more than %d files or %d levels, too many to measure", maxEntries, maxDepth)
	default:
		return nil
	}
	j.stop(sandbox.DiskFull, "workspace", reason)
	return errors.New(reason)
}

// guardQuota watches the workspace while a program runs. It spends at most a
// twentieth of the time on it.
func (j *job) guardQuota(done <-chan struct{}) {
	if j.msg.Workspace <= 0 {
		return
	}
	const rest, share, patience = 100 * time.Millisecond, 20, 3
	veiled := 0
	pause := time.NewTimer(rest)
	defer pause.Stop()
	for {
		select {
		case <-done:
			return
		case <-pause.C:
		}
		began := time.Now()
		if j.checkQuota() != nil {
			return
		}
		// A descriptor may be on its way for a moment, and the program itself is
		// PID 1's for one when it begins.
		if reason := veil(); reason == "" {
			veiled = 0
		} else if veiled++; veiled == patience {
			j.stop(sandbox.DiskFull, "workspace", "the workspace cannot be measured: "+reason)
			return
		}
		pause.Reset(max(rest, share*time.Since(began)))
	}
}

type fileID struct{ dev, ino uint64 }

// occupied is the room that a workspace takes, files that are deleted but still
// open included. It says whether it could see all.
func occupied(root string) (bytes int64, all bool) {
	const block = 512
	linked := map[fileID]bool{}
	all = walk(root, func(_ string, st *unix.Stat_t) bool {
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			id := fileID{st.Dev, st.Ino}
			if linked[id] {
				return true
			}
			linked[id] = true
		}
		bytes += st.Blocks * block
		return true
	})
	var top unix.Stat_t
	if unix.Stat(root, &top) == nil {
		bytes += deleted(top.Dev) * block
	}
	return bytes, all
}

// maxMissed is how many artifacts that did not fit are named.
const maxMissed = 100

// sendArtifacts sends the files that the job's patterns match and names those
// that do not fit.
func (j *job) sendArtifacts() (missed []string) {
	if len(j.msg.Artifacts) == 0 {
		return nil
	}
	var names []string
	_ = walk(j.w.o.Workspace, func(name string, st *unix.Stat_t) bool {
		if st.Mode&unix.S_IFMT == unix.S_IFREG && sandbox.ValidateName(name) == nil && j.wanted(name) {
			names = append(names, name)
		}
		return true
	})
	slices.Sort(names)
	left, count := j.msg.ArtifactBytes, 0
	for _, name := range names {
		n, err := int64(0), errLarge
		if count < sandbox.MaxArtifacts {
			n, err = j.w.sendFile(0, name, left)
		}
		if err == nil {
			left, count = left-n, count+1
		} else if len(missed) < maxMissed {
			missed = append(missed, name)
		}
	}
	return missed
}

func (j *job) wanted(name string) bool {
	for _, pattern := range j.msg.Artifacts {
		if ok, err := sandbox.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

var (
	errLarge     = errors.New("is larger than asked for")
	errIrregular = errors.New("is no regular file, or not reached without links")
)

// get answers a request for a file.
func (w *warden) get(stream uint32, m frame.GetMsg) {
	if err := sandbox.ValidateName(m.Name); err != nil {
		w.refuse(stream, "missing", err.Error())
		return
	}
	_, err := w.sendFile(stream, m.Name, m.Limit)
	code := "failed"
	switch {
	case err == nil:
		return
	case errors.Is(err, errLarge):
		code = "large"
	case errors.Is(err, errIrregular), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		code = "irregular"
	case errors.Is(err, unix.ENOENT):
		code = "missing"
	}
	_ = w.out.SendTo(frame.Refused, stream, frame.RefusedMsg{Code: code, Message: fmt.Sprintf("%.80q: %v", m.Name, err)})
}

// sendFile sends a regular file of the workspace, of at most limit bytes. It
// never follows a link, and never waits for a pipe.
func (w *warden) sendFile(stream uint32, name string, limit int64) (sent int64, err error) {
	top, err := unix.Open(w.o.Workspace, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(top) }()
	fd, err := openBeneath(top, name, openFile)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	switch err := unix.Fstat(fd, &st); {
	case err != nil:
		return 0, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return 0, errIrregular
	case st.Size > limit:
		return 0, errLarge
	}
	if err := w.out.SendTo(frame.FileBegin, stream, frame.FileMsg{Name: name, Size: st.Size, Mode: st.Mode & 0o777}); err != nil {
		return 0, err
	}
	buf := make([]byte, frame.MaxData)
	for sent < st.Size {
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[:min(int64(len(buf)), st.Size-sent)]) })
		if err != nil {
			return sent, err
		}
		if n == 0 {
			break
		}
		if err := w.out.Write(frame.FileData, stream, buf[:n]); err != nil {
			return sent, err
		}
		sent += int64(n)
	}
	return sent, w.out.Write(frame.FileEnd, stream, nil)
}

package docker

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// block is the unit in which the prelude reads the files from stdin. dd reads
// exactly so many bytes, which leaves the program's own stdin where it begins;
// head and shells may read ahead.
const block = 64 * sandbox.KiB

// marker is what the prelude writes to stderr as its last act before it becomes
// the program. What comes before it is the prelude's, what comes after is the
// program's, and without it the program was not started.
const marker = "\x02wflo:started\x03\n"

// prelude unpacks $1 blocks of tar stream from stdin and becomes the program.
// It runs inside the sandbox with the program's own rights, so a link in the
// workspace leads nowhere that the program could not go. The engine's own copy
// is no way: it refuses read-only roots, and follows links as root.
const prelude = `n=$1; shift; umask 022
if [ "$n" -gt 0 ]; then
	dd bs=65536 count="$n" iflag=fullblock 2>/dev/null | { tar -x -m -o -f - -C / && cat >/dev/null; } || exit 126
fi
case $1 in
*/*) if [ ! -e "$1" ]; then echo "$1: no such file" >&2; exit 127; fi
	if [ -d "$1" ] || [ ! -x "$1" ]; then echo "$1: not executable" >&2; exit 126; fi ;;
*) command -v "$1" >/dev/null || { echo "$1: command not found" >&2; exit 127; } ;;
esac
printf '\002wflo:started\003\n' >&2
exec "$@"`

// script gives the program, the variables and the extra file of a source. Output
// is unbuffered, so that what a program printed before a timeout is not lost.
func script(l sandbox.Language, source string) (argv []string, env map[string]string, file *tarFile) {
	if l == sandbox.Bash {
		name := scratch + "/main.sh"
		return []string{"bash", name}, map[string]string{}, &tarFile{name: name, data: []byte(source)}
	}
	name := scratch + "/main.py"
	return []string{"python3", name},
		map[string]string{"PYTHONPATH": sandbox.Workspace, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
		&tarFile{name: name, data: []byte(source)}
}

type tarFile struct {
	name string // absolute, inside the sandbox
	data []byte
}

// pack writes files as a tar stream in whole blocks, to be unpacked at the root:
// regular files, and the directories above them so that tar replaces a link by a
// directory instead of following it.
func pack(files []wflo.File, extra *tarFile) ([]byte, error) {
	all := make([]tarFile, 0, len(files)+1)
	for _, f := range files {
		all = append(all, tarFile{name: sandbox.Workspace + "/" + f.Name, data: f.Data})
	}
	if extra != nil {
		all = append(all, *extra)
	}
	if len(all) == 0 {
		return nil, nil
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	seen := map[string]bool{sandbox.Workspace: true, scratch: true}
	for _, f := range all {
		for _, dir := range parents(f.name, seen) {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755}); err != nil {
				return nil, fmt.Errorf("pack %s: %w", dir, err)
			}
		}
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name[1:], Mode: 0o644, Size: int64(len(f.data))})
		if err == nil {
			_, err = w.Write(f.data)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	// A tar stream may be followed by any number of zeros.
	buf.Write(make([]byte, (block-buf.Len()%block)%block))
	return buf.Bytes(), nil
}

// parents lists the directories above name that were not seen yet, outermost
// first. The mount points are marked as seen: they are not ours to change.
func parents(name string, seen map[string]bool) []string {
	var dirs []string
	for dir := path.Dir(name); !seen[dir] && strings.Count(dir, "/") > 1; dir = path.Dir(dir) {
		seen[dir] = true
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

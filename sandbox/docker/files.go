package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// readScript prints the workspace's file $1 if it has at most $2 bytes. It runs
// inside a sandbox that has nothing but the workspace, so whatever a hostile
// program does to the path meanwhile leads to files of the image at worst. A
// link anywhere in the path is refused, because what it shows is not what the
// box's user put there.
const readScript = `f="/workspace/$1"
if [ ! -e "$f" ] && [ ! -L "$f" ]; then exit 10; fi
if [ "$(realpath -e -- "$f" 2>/dev/null)" != "$f" ] || [ ! -f "$f" ]; then exit 11; fi
if [ "$(stat -c %s -- "$f")" -gt "$2" ]; then exit 12; fi
exec dd if="$f" bs=65536 count="$(($2 + 1))" iflag=nofollow,nonblock,fullblock,count_bytes status=none`

// maxRead is the largest limit of ReadFile: the content is held in memory.
const maxRead = 256 * sandbox.MiB

// ReadFile reads a file of the box's workspace; see sandbox.Runner. limit is at
// most 256 MiB. Links are refused.
func (r *Runner) ReadFile(ctx context.Context, box, name string, limit int64) ([]byte, error) {
	if err := sandbox.ValidateBox(box); err != nil {
		return nil, err
	}
	if err := sandbox.ValidateName(name); err != nil {
		return nil, err
	}
	if limit < 0 || limit > maxRead {
		return nil, wflo.Invalid("limit", fmt.Sprintf("is %d", limit), "use 0 to "+sandbox.FormatSize(maxRead))
	}
	missing := wflo.Invalid("file", fmt.Sprintf("%q is not in the workspace of %q", name, box), "list the workspace first")
	if _, err := r.engine.VolumeInspect(ctx, r.volumeName(box)); errdefs.IsNotFound(err) {
		return nil, missing
	} else if err != nil {
		return nil, unreachable("find workspace", err)
	}
	j, err := r.fileStep(ctx, box, "sh", "-c", readScript, "sh", name, strconv.FormatInt(limit, 10))
	if err != nil {
		return nil, err
	}
	j.readOnly = true
	j.limits.Output = limit + 1
	end, err := r.finish(ctx, j)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	out := &end.out.stdout
	switch {
	case end.code == 10:
		return nil, missing
	case end.code == 11:
		return nil, wflo.Invalid("file", fmt.Sprintf("%q is not a regular file", name), "name a file; links and directories are not followed")
	case end.code == 12, out.dropped > 0, int64(len(out.buf)) > limit:
		return nil, wflo.Invalid("file", fmt.Sprintf("%q has more than %d bytes", name, limit), "read a part of it with a program in the sandbox")
	case end.code != 0:
		return nil, fmt.Errorf("read %s: %s", name, reason(end))
	}
	return append([]byte{}, out.buf...), nil
}

// WriteFiles puts files into the box's workspace, with mode 0644; see
// sandbox.Runner. A link in the way is replaced.
func (r *Runner) WriteFiles(ctx context.Context, box string, files []wflo.File) error {
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	if err := sandbox.ValidateFiles(files); err != nil {
		return err
	}
	j, err := r.fileStep(ctx, box, "true")
	if err != nil {
		return err
	}
	if j.files, err = pack(files, nil); err != nil {
		return err
	}
	end, err := r.finish(ctx, j)
	if err != nil {
		return fmt.Errorf("write files: %w", err)
	}
	if !end.out.started {
		return wflo.Invalid("files", "cannot be written: "+reason(end), "see whether a directory is in the way, or the disk is full")
	}
	if end.code != 0 {
		return fmt.Errorf("write files: %s", reason(end))
	}
	return nil
}

func (r *Runner) fileStep(ctx context.Context, box string, argv ...string) (job, error) {
	if _, err := r.Check(ctx); err != nil {
		return job{}, err
	}
	id, err := r.image(ctx, r.config.Image)
	if err != nil {
		return job{}, err
	}
	return r.step(id, box, argv...), nil
}

// finish executes a step and makes an error of an end that was not its own.
func (r *Runner) finish(ctx context.Context, j job) (ending, error) {
	end, err := r.execute(ctx, j, nil)
	switch {
	case err != nil:
		return end, err
	case judge(end) == sandbox.Cancelled && ctx.Err() != nil:
		return end, ctx.Err()
	case judge(end) == sandbox.Cancelled:
		return end, errors.New("the box was closed")
	case judge(end) == sandbox.Timeout:
		return end, errors.New("it took too long")
	}
	return end, nil
}

func reason(end ending) string {
	stderr, _ := end.out.stderr.text()
	stderr, _, _ = strings.Cut(strings.TrimSpace(stderr), "\n")
	if stderr == "" {
		return fmt.Sprintf("it exited with %d", end.code)
	}
	return fmt.Sprintf("%.200s", stderr)
}

package cli

import (
	"context"
	"errors"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// lockPatience is how long to wait for another process that writes the same file.
// Writing takes milliseconds.
const lockPatience = 10 * time.Second

// errLocked says that another process holds a lock.
var errLocked = errors.New("locked")

// lockFile makes the caller the only wflo to write a file until unlock, which must
// be called once. The lock is a file beside it, because the file itself is replaced;
// the operating system lets go of it when its process dies.
func lockFile(ctx context.Context, path string) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		unlock, err := tryLock(path + ".lock")
		switch {
		case err == nil:
			return unlock, nil
		case !errors.Is(err, errLocked):
			return nil, wflo.Errorf(wflo.CodeInvalid, "name a file in a directory that exists and may be written", "lock %s: %w", path, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			return nil, wflo.Errorf(wflo.CodeConflict, "import again when that is done; nothing was written", "another wflo is writing %s", path)
		}
	}
}

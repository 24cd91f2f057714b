package tree

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/wflo-ai/wflo-go"
)

const useAnother = "restore another snapshot, and find out what changed the blob store"

func errNoBlobs() error {
	return wflo.Invalid("workspace.blobs", "is missing", "give snapshots a blob store")
}

func errNoRunner() error {
	return wflo.Invalid("workspace.runner", "is missing", "use a worker whose sandboxes can be saved and replaced")
}

// damaged is the error for what is not what was stored: a retry cannot help.
func damaged(format string, args ...any) error {
	return wflo.Errorf(wflo.CodeConflict, useAnother, format, args...)
}

// unread is the error for a blob that the store did not give. Only one that is not
// there is final; a store that is away for a moment is worth a retry.
func unread(what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("%s is missing from the blob store: %w", what, err)
	}
	return fmt.Errorf("read %s: %w", what, err)
}

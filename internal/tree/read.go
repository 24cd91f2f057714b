package tree

import (
	"context"
	"fmt"
	"io"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// ListFiles gives the entries of a saved workspace, parents first.
func (w *Workspace) ListFiles(ctx context.Context, p wflo.SnapshotPart) ([]sandbox.TreeEntry, error) {
	m, err := w.checked(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("list a workspace: %w", err)
	}
	return m.entries(), nil
}

// ReadFile writes the content of a file of a saved workspace, its holes as zeros, and
// gives its entry. A name that is another one of a file gives that file; one that is
// neither is CodeInvalid. Content is verified before it is written, a piece of at
// most 1 MiB at a time.
func (w *Workspace) ReadFile(ctx context.Context, p wflo.SnapshotPart, name string, to io.Writer) (sandbox.TreeEntry, error) {
	m, err := w.checked(ctx, p)
	if err != nil {
		return sandbox.TreeEntry{}, fmt.Errorf("read %.200q of a workspace: %w", name, err)
	}
	names := m.byName()
	n := names[name]
	if n != nil && n.Kind == sandbox.TreeLink {
		n = names[string(n.Target)]
	}
	if n == nil || n.Kind != sandbox.TreeFile {
		return sandbox.TreeEntry{}, wflo.Invalid("name", fmt.Sprintf("%.200q is no file of the snapshot", name), "choose one of those that are listed")
	}
	src := w.source(ctx, []node{*n})
	defer src.close()
	r, err := src.File(0)
	if err == nil {
		err = writeWithHoles(to, r, n.TreeEntry)
	}
	if err != nil {
		return sandbox.TreeEntry{}, fmt.Errorf("read %.200q of a workspace: %w", name, err)
	}
	return n.TreeEntry, nil
}

func writeWithHoles(to io.Writer, r io.Reader, e sandbox.TreeEntry) error {
	if e.Extents == nil {
		_, err := io.Copy(to, r)
		return err
	}
	end := int64(0)
	for _, x := range e.Extents {
		if _, err := io.CopyN(to, zeros{}, x.Offset-end); err != nil {
			return err
		}
		if _, err := io.CopyN(to, r, x.Length); err != nil {
			return err
		}
		end = x.Offset + x.Length
	}
	_, err := io.CopyN(to, zeros{}, e.Size-end)
	return err
}

// zeros is a reader without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

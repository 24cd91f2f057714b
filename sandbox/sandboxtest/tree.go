package sandboxtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// Saved takes a workspace into memory. The zero value takes everything; it may be
// used for several saves in a row.
type Saved struct {
	// Want says whether a file's content is wanted; nil wants all.
	Want func(e sandbox.TreeEntry) bool
	// Begun, if not nil, is called when the entries are known.
	Begun func()

	Entries []sandbox.TreeEntry
	Content map[string][]byte // by name; the data of the extents
	Gone    []string          // files that were gone when they were to be read
	Again   int               // how often a file changed while it was read
}

// Tree takes the entries.
func (s *Saved) Tree(entries []sandbox.TreeEntry) (want []int, err error) {
	s.Entries, s.Content, s.Gone = slices.Clone(entries), map[string][]byte{}, nil
	if s.Begun != nil {
		s.Begun()
	}
	for i, e := range entries {
		if e.Kind == sandbox.TreeFile && (s.Want == nil || s.Want(e)) {
			want = append(want, i)
		}
	}
	return want, nil
}

// File takes one file.
func (s *Saved) File(i int, e sandbox.TreeEntry, r io.Reader) error {
	if e.Kind == "" {
		s.Gone = append(s.Gone, string(e.Name))
		return nil
	}
	data, err := io.ReadAll(r)
	if err != nil {
		if errors.Is(err, sandbox.ErrChanged) {
			s.Again++
		}
		return fmt.Errorf("read %q: %w", e.Name, err)
	}
	s.Entries[i], s.Content[string(e.Name)] = e, data
	return nil
}

// Source gives out what was saved.
func (s *Saved) Source() *Source { return &Source{Entries: s.Entries, Content: s.Content} }

// entry gives what was saved under a name.
func (s *Saved) entry(name string) sandbox.TreeEntry {
	for _, e := range s.Entries {
		if string(e.Name) == name {
			return e
		}
	}
	return sandbox.TreeEntry{}
}

// names lists what was saved.
func (s *Saved) names() []string {
	names := make([]string, len(s.Entries))
	for i, e := range s.Entries {
		names[i] = string(e.Name)
	}
	return names
}

// Source gives a workspace out of memory.
type Source struct {
	Entries []sandbox.TreeEntry
	Content map[string][]byte // by name; the data of the extents
	// Before, if not nil, is called before each content is given; its error is
	// given in the content's place.
	Before func(i int) error
}

// Tree gives the entries.
func (s *Source) Tree() []sandbox.TreeEntry { return s.Entries }

// File gives the content of an entry.
func (s *Source) File(i int) (io.ReadCloser, error) {
	if s.Before != nil {
		if err := s.Before(i); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(bytes.NewReader(s.Content[string(s.Entries[i].Name)])), nil
}

// sameTree says how two trees differ in what a restore has to bring back.
func sameTree(want, got *Saved) error {
	if a, b := want.names(), got.names(); !slices.Equal(a, b) {
		return fmt.Errorf("there are %.2000q, want %.2000q", b, a)
	}
	for i, w := range want.Entries {
		g := got.Entries[i]
		if w.Kind != g.Kind || w.Mode != g.Mode || w.Size != g.Size || !w.MTime.Equal(g.MTime) || !bytes.Equal(w.Target, g.Target) {
			return fmt.Errorf("%q is %s %o of %d bytes, %v, to %q; want %s %o, %d, %v, %q",
				w.Name, g.Kind, g.Mode, g.Size, g.MTime, g.Target, w.Kind, w.Mode, w.Size, w.MTime, w.Target)
		}
	}
	same := func(a, b []byte) bool { return bytes.Equal(a, b) }
	if !maps.EqualFunc(want.Content, got.Content, same) {
		for name, data := range want.Content {
			if !bytes.Equal(data, got.Content[name]) {
				return fmt.Errorf("%q holds %d bytes, %.60q, want %d, %.60q", name, len(got.Content[name]), got.Content[name], len(data), data)
			}
		}
		return errors.New("there are contents of other files")
	}
	return nil
}

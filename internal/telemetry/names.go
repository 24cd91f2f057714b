package telemetry

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// Label values that stand for others.
const (
	nameOther   = "other"   // the limit of distinct values is reached
	nameUnknown = "unknown" // there was no value
)

// maxValueBytes bounds one label value: names above it are cut.
const maxValueBytes = 120

// names admits a bounded number of distinct label values, first come first
// served, because every value costs a time series for as long as the process
// lives and some of them are chosen by callers.
type names struct {
	limit int
	mu    sync.RWMutex
	seen  map[string]struct{}
}

func newNames(limit int) *names {
	return &names{limit: limit, seen: make(map[string]struct{})}
}

// admit returns the value to use as the label for name.
func (n *names) admit(name string) string {
	name = labelValue(name)
	if name == "" {
		return nameUnknown
	}
	n.mu.RLock()
	_, ok := n.seen[name]
	n.mu.RUnlock()
	if ok {
		return name
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.seen[name]; ok {
		return name
	}
	if len(n.seen) >= n.limit {
		return nameOther
	}
	// A clone, so that a short name does not keep a long request alive.
	n.seen[strings.Clone(name)] = struct{}{}
	return name
}

// labelValue makes s fit for a label: valid UTF-8, which the Prometheus client
// insists on with a panic, and not too long.
func labelValue(s string) string {
	if len(s) > maxValueBytes {
		s = s[:maxValueBytes]
		// Do not leave half of a character at the cut.
		for i := 0; i < utf8.UTFMax && len(s) > 0; i++ {
			if r, size := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || size != 1 {
				break
			}
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

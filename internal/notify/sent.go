package notify

import "sync"

// maxSent bounds how many notices a Sent remembers.
const maxSent = 1024

// Sent remembers who of a notice's recipients has it, for channels where each
// recipient is a request of its own and the receiver cannot tell repeats: when one
// of three fails, the other two are not bothered again. It forgets when the process
// ends. The zero value is ready.
type Sent struct {
	mu    sync.Mutex
	by    map[string]map[string]bool
	order []string
}

// Has says whether the recipient has the notice.
func (s *Sent) Has(notice, recipient string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[notice][recipient]
}

// Add notes that the recipient has the notice, or will never take it.
func (s *Sent) Add(notice, recipient string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[notice] == nil {
		if s.by == nil {
			s.by = map[string]map[string]bool{}
		}
		if len(s.order) == maxSent {
			delete(s.by, s.order[0])
			s.order = s.order[1:]
		}
		s.by[notice] = map[string]bool{}
		s.order = append(s.order, notice)
	}
	s.by[notice][recipient] = true
}

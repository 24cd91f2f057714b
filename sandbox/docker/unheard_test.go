package docker

import (
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// TestAnswerLost holds that what the engine made, and could not say, is removed.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{"container": "POST /v1.41/containers/create", "volume": "POST /v1.41/volumes/create"} {
		t.Run(name, func(t *testing.T) {
			w, host := newWire(t)
			r := open(t, func(c *Config) { c.Host = host })
			settle(r)
			box := closing(t, r, "unheard")
			spec := shell("true")
			spec.Box = box
			w.mu.Lock()
			w.mute = request
			w.mu.Unlock()
			_, err := r.Run(t.Context(), spec, nil)
			coded(t, err, wflo.CodeSandboxUnavailable)
			if w.lost() == 0 {
				t.Error("no answer was lost")
			}
		})
	}
}

// lost waits until the engine has given the answers that were lost, and says how
// many there were.
func (w *wire) lost() int {
	w.mu.Lock()
	w.mute = ""
	var all []chan struct{}
	for _, missed := range w.missed {
		all = append(all, missed)
	}
	w.mu.Unlock()
	for _, missed := range all {
		<-missed
	}
	return len(all)
}

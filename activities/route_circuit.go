package activities

import (
	"sync"
	"time"
)

const (
	// tripAfter is how many calls in a row must fail until a model is left alone.
	tripAfter = 5
	// restFor is how long it is left alone. Then one call tries it.
	restFor = 30 * time.Second
	// maxTripped bounds what is remembered of models.
	maxTripped = 1024
)

// circuit remembers the models whose providers fail, so that calls that may go
// elsewhere go there at once. It knows of this worker's calls only. Its zero
// value is ready.
type circuit struct {
	mu    sync.Mutex
	trips map[string]*trip
}

// trip is a row of failures.
type trip struct {
	failures int
	until    time.Time
}

// failed counts a failure of the provider.
func (c *circuit) failed(model string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.trips[model]
	if t == nil {
		if c.trips == nil || len(c.trips) >= maxTripped {
			c.trips = make(map[string]*trip)
		}
		t = &trip{}
		c.trips[model] = t
	}
	if t.failures++; t.failures >= tripAfter {
		t.until = at.Add(restFor)
	}
}

// answered ends the row.
func (c *circuit) answered(model string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.trips, model)
}

// order puts the models that rest behind the others. They are not left out: a
// call that nobody else answers may try them.
func (c *circuit) order(calls []*call, at time.Time) []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	ready, resting := make([]*call, 0, len(calls)), []*call(nil)
	for _, each := range calls {
		t := c.trips[each.name()]
		switch {
		case t == nil || t.failures < tripAfter:
			ready = append(ready, each)
		case at.Before(t.until) || len(ready) > 0:
			resting = append(resting, each)
		default:
			// This call tries it; the others wait for what comes of that.
			t.until = at.Add(restFor)
			ready = append(ready, each)
		}
	}
	return append(ready, resting...)
}

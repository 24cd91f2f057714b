package story

import (
	"container/list"
	"sync"
)

// cache keeps the accounts that were asked for last, bounded by their size. A history
// that is closed never changes; one that is open is read on from its last event.
type cache struct {
	mu    sync.Mutex
	most  int64
	held  int64
	order *list.List // of *account, the latest first
	at    map[string]*list.Element
	sizes map[string]int64
}

func newCache(most int64) *cache {
	return &cache{most: most, order: list.New(), at: map[string]*list.Element{}, sizes: map[string]int64{}}
}

// get gives the account of a run, which make makes where there is none.
func (c *cache) get(key string, make func() *account) *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.at[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*account)
	}
	a := make()
	c.at[key] = c.order.PushFront(a)
	return a
}

// grown says how large an account is now, and forgets others for it.
func (c *cache) grown(key string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.at[key]; !ok {
		return // it was forgotten while it was read
	}
	c.held += size - c.sizes[key]
	c.sizes[key] = size
	for c.held > c.most && c.order.Len() > 1 {
		last := c.order.Back()
		c.drop(last.Value.(*account).key())
	}
}

// forget drops an account that cannot be read on.
func (c *cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key)
}

func (c *cache) drop(key string) {
	e, ok := c.at[key]
	if !ok {
		return
	}
	c.order.Remove(e)
	c.held -= c.sizes[key]
	delete(c.at, key)
	delete(c.sizes, key)
}

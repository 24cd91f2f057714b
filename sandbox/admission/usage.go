package admission

import (
	"cmp"
	"slices"
	"time"
)

// Usage is what runs and waits at one moment.
type Usage struct {
	Running int `json:"running"`
	Waiting int `json:"waiting"`
	// Longest is how long the request that came first among the waiting ones
	// has waited.
	Longest     time.Duration `json:"longest,omitempty"`
	Memory      int64         `json:"memory"` // bytes that what runs may have
	MemoryTotal int64         `json:"memory_total"`
	CPUs        float64       `json:"cpus"` // cores that what runs may have
	CPUsTotal   float64       `json:"cpus_total"`
	// Sandboxes is Config.Sandboxes.
	Sandboxes int `json:"sandboxes,omitempty"`
	// Tenants has those with something to tell, sorted by name.
	Tenants []TenantUsage `json:"tenants,omitempty"`
}

// TenantUsage is what one tenant has at one moment.
type TenantUsage struct {
	Tenant     string  `json:"tenant"`
	Running    int     `json:"running"`
	Waiting    int     `json:"waiting"`
	CPUSeconds float64 `json:"cpu_seconds"` // of what ended within the window
	Quota      Quota   `json:"quota,omitzero"`
	// Reason says what the first waiting request waits for; see State.
	Reason string `json:"reason,omitempty"`
}

// Snapshot says what runs and waits now, for metrics and displays.
func (c *Controller) Snapshot() Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, clock := c.host, c.now()
	now := clock.Sub(c.start)
	u := Usage{
		Running: h.running, Waiting: h.waiting, Sandboxes: h.sandboxes,
		Memory: h.used.memory, MemoryTotal: h.total.memory,
		CPUs: float64(h.used.cpus) / 1e9, CPUsTotal: float64(h.total.cpus) / 1e9,
	}
	for name, t := range h.tenants {
		if t.idle(now) {
			continue
		}
		tu := TenantUsage{
			Tenant: name, Running: t.running, Waiting: len(t.queue), CPUSeconds: t.spent.used(now).Seconds(),
			Quota: Quota{Concurrent: t.limits.concurrent, CPUSeconds: t.limits.cpu.Seconds(), Window: t.limits.window},
		}
		if len(t.queue) > 0 {
			first := t.queue[0]
			tu.Reason = first.place().state(name, clock, now).Reason
			u.Longest = max(u.Longest, now-first.since)
		}
		u.Tenants = append(u.Tenants, tu)
	}
	slices.SortFunc(u.Tenants, func(a, b TenantUsage) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return u
}

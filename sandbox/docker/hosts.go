package docker

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Host is one of several engines that sandboxes are spread over.
type Host struct {
	// Name is what places are recorded under: it must stay that host's for good, and
	// mean the same to every worker.
	Name string
	// Address and CertPath are Config.Host and Config.CertPath for it.
	Address, CertPath string
}

// HostRunner is what [Hosts] needs of each host. *Runner has it.
type HostRunner interface {
	sandbox.Runner
	sandbox.Archiver
	// Ping says whether the engine answers.
	Ping(ctx context.Context) error
	// HasBox says whether a box has a workspace there.
	HasBox(ctx context.Context, box string) (bool, error)
}

// Keeper keeps workspaces elsewhere than on their host.
type Keeper interface {
	// Keep saves the workspace of a box, relative to what it saved before, which may be
	// nil; ok is false for a box without one.
	Keep(ctx context.Context, box string, before *wflo.SnapshotPart) (p wflo.SnapshotPart, ok bool, err error)
	// Bring replaces the workspace of a box with what was saved; see sandbox.Archiver
	// for key.
	Bring(ctx context.Context, box, key string, p wflo.SnapshotPart) error
}

// HostsConfig configures Hosts.
type HostsConfig struct {
	// Runners are the hosts by name, at least one. Required.
	Runners map[string]HostRunner
	// Keepers keep the workspaces of each host's boxes, with the same names; see
	// SetKeepers. Without, no box can move.
	Keepers map[string]Keeper
	// Places is where it is written down which host has a box. All workers share it.
	// Required.
	Places sandbox.Places
	// Owner is whose the boxes are, for the sweep: workers of another owner may share
	// Places. Nil means nobody's.
	Owner func() string
	// Gone is how long a host may be away before its boxes move to another one; zero
	// means a minute.
	Gone time.Duration
	// KeepLess leaves out keeping a workspace after each program and write: then only
	// snapshots are kept, and what has changed since cannot move.
	KeepLess bool
	// Moved is told of each box that has moved to another host, once it has: a record that
	// cannot be made must not keep it where nothing answers. What fails is tried again a few
	// times and then logged. nil tells nobody.
	Moved func(ctx context.Context, p sandbox.Place) error
	// Logger is told of hosts that are away and boxes that move. nil discards.
	Logger *slog.Logger
}

// Hosts is a sandbox.Runner over several hosts. A box is on one of them, which is
// written down before anything of the box is made, and stays there. It moves when its
// host is gone and nothing would be lost with it: see decision 0037. Make it with
// NewHosts. Its runners are closed by whoever made them.
type Hosts struct {
	c     HostsConfig
	names []string

	mu   sync.Mutex
	away map[string]time.Time // since when
}

var (
	_ sandbox.Runner   = (*Hosts)(nil)
	_ sandbox.Archiver = (*Hosts)(nil)
	_ HostRunner       = (*Runner)(nil)
)

// NewHosts checks the configuration. It connects to nothing.
func NewHosts(c HostsConfig) (*Hosts, error) {
	if len(c.Runners) == 0 || c.Places == nil {
		return nil, wflo.Invalid("sandbox hosts", "lack a host, or a store of places", "give both")
	}
	if c.Gone < 0 {
		return nil, wflo.Invalid("sandbox hosts", "have a negative time after which one is gone", "use 0 for a minute")
	}
	if c.Gone == 0 {
		c.Gone = time.Minute
	}
	if c.Owner == nil {
		c.Owner = func() string { return "" }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hosts{c: c, away: map[string]time.Time{}}
	for name := range c.Runners {
		if sandbox.ValidateBox(name) != nil {
			return nil, wflo.Invalid("sandbox hosts", fmt.Sprintf("have one called %.80q", name), "use short plain names")
		}
		h.names = append(h.names, name)
	}
	return h, nil
}

// SetKeepers has open make what keeps the workspaces of each host, before the first
// call.
func (h *Hosts) SetKeepers(open func(host sandbox.Archiver) (Keeper, error)) error {
	h.c.Keepers = map[string]Keeper{}
	for name, r := range h.c.Runners {
		k, err := open(r)
		if err != nil {
			return err
		}
		h.c.Keepers[name] = k
	}
	return nil
}

// HasBox says whether a box has a workspace.
func (r *Runner) HasBox(ctx context.Context, box string) (bool, error) {
	_, ok, err := r.workspaceOf(ctx, box)
	return ok, err
}

// errMoved is for those who worked on a host that the box has left.
func errMoved(box string) error {
	return wflo.Errorf(wflo.CodeSandboxLost, "it is run again where the box is now", "the box %s moved to another host meanwhile", box)
}

// order gives the hosts in the order in which a box prefers them, which is the same
// for every worker and spreads boxes evenly.
func (h *Hosts) order(box string) []string {
	weight := func(host string) uint64 {
		sum := sha256.Sum256([]byte(host + "\x00" + box))
		return binary.BigEndian.Uint64(sum[:])
	}
	names := slices.Clone(h.names)
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(weight(b), weight(a)), cmp.Compare(a, b)) })
	return names
}

// lookTime bounds one look at a host; lookEvery is how often one that is away is
// looked at while something waits for it.
const (
	lookTime  = 5 * time.Second
	lookEvery = time.Second
)

// answers looks at a host, and remembers since when it has been away.
func (h *Hosts) answers(ctx context.Context, host string) error {
	quick, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	err := h.c.Runners[host].Ping(quick)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	since, was := h.away[host]
	switch {
	case err == nil && was:
		h.c.Logger.InfoContext(ctx, "a sandbox host is back", "host", host, "away", time.Since(since).String())
		delete(h.away, host)
	case err != nil && !was:
		h.c.Logger.WarnContext(ctx, "a sandbox host does not answer", "host", host, "error", err.Error())
		h.away[host] = time.Now()
	}
	return err
}

// await waits for a host until it is gone. gone says that it is.
func (h *Hosts) await(ctx context.Context, host string) (gone bool, err error) {
	if h.c.Runners[host] == nil {
		return true, nil // nobody has it in their configuration any more
	}
	for {
		err := h.answers(ctx, host)
		if err == nil || ctx.Err() != nil {
			return false, ctx.Err()
		}
		h.mu.Lock()
		left := h.c.Gone - time.Since(h.away[host])
		h.mu.Unlock()
		if left <= 0 {
			return true, nil
		}
		timer := time.NewTimer(min(left, lookEvery))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		}
	}
}

// pick gives the first host of a box's order that answers, without one of them.
func (h *Hosts) pick(ctx context.Context, box, without string) (string, error) {
	var all error
	for _, host := range h.order(box) {
		if host == without {
			continue
		}
		err := h.answers(ctx, host)
		if err == nil {
			return host, nil
		}
		all = errors.Join(all, fmt.Errorf("%s: %w", host, err))
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if all == nil {
		all = errors.New("there is no other")
	}
	return "", wflo.Errorf(wflo.CodeSandboxUnavailable, "start one of them, or add a host to WFLO_SANDBOX_HOSTS", "no sandbox host answers: %w", all)
}

// Run implements sandbox.Runner.
func (h *Hosts) Run(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	if err := spec.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	if spec.Box == "" {
		return h.runOnce(ctx, spec, watch)
	}
	p, err := h.at(ctx, spec.Box, true)
	if err != nil {
		return unbegun(ctx, err)
	}
	res, err := h.c.Runners[p.Host].Run(ctx, spec, watch)
	if err != nil {
		return res, err
	}
	res.Host = p.Host
	if p.From != "" && !p.Moved.IsZero() {
		res.Moved = fmt.Sprintf("from %s at %s", p.From, p.Moved.UTC().Format(time.RFC3339))
	}
	kept := context.WithoutCancel(ctx)
	if res.Outcome == sandbox.Cancelled && p.Done == 0 {
		// One that was cancelled before it had a workspace has changed nothing: counted,
		// its host would be taken for one that has lost something.
		if has, err := h.c.Runners[p.Host].HasBox(kept, spec.Box); err == nil && !has {
			return res, nil
		}
	}
	return res, h.changed(kept, p)
}

// unbegun is what comes of a program for which no host was found: an error, unless
// nobody waits for it any more.
func unbegun(ctx context.Context, err error) (sandbox.Result, error) {
	if ctx.Err() != nil {
		return sandbox.Result{Outcome: sandbox.Cancelled}, nil //nolint:nilerr // cancelling is no fault; see sandbox.Runner
	}
	return sandbox.Result{}, err
}

// runOnce runs what has a sandbox to itself on the first host of its key's order that
// answers. A later attempt looks where an earlier one may still go, for as long as
// that host is not gone.
func (h *Hosts) runOnce(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	key := cmp.Or(spec.Key, rand.Text())
	if spec.Key != "" && spec.Origin.Attempt > 1 {
		if _, err := h.await(ctx, h.order(key)[0]); err != nil {
			return unbegun(ctx, err)
		}
	}
	host, err := h.pick(ctx, key, "")
	if err != nil {
		return unbegun(ctx, err)
	}
	res, err := h.c.Runners[host].Run(ctx, spec, watch)
	res.Host = host
	return res, err
}

// ReadFile implements sandbox.Runner.
func (h *Hosts) ReadFile(ctx context.Context, box, name string, limit int64) ([]byte, error) {
	p, err := h.at(ctx, box, false)
	if err == nil && p.Host == "" { // a box that is not: any host says so
		p.Host, err = h.pick(ctx, box, "")
	}
	if err != nil {
		return nil, err
	}
	return h.c.Runners[p.Host].ReadFile(ctx, box, name, limit)
}

// WriteFiles implements sandbox.Runner.
func (h *Hosts) WriteFiles(ctx context.Context, box string, files []wflo.File) error {
	p, err := h.at(ctx, box, true)
	if err != nil {
		return err
	}
	if err := h.c.Runners[p.Host].WriteFiles(ctx, box, files); err != nil {
		return err
	}
	return h.changed(context.WithoutCancel(ctx), p)
}

// Save implements sandbox.Archiver.
func (h *Hosts) Save(ctx context.Context, box string, limits sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	p, err := h.at(ctx, box, false)
	if err != nil || p.Host == "" {
		return false, false, err
	}
	return h.c.Runners[p.Host].Save(ctx, box, limits, s)
}

// Replace implements sandbox.Archiver. What the box has is given up, so that it goes
// to another host at once where its own is gone, whatever was not saved.
func (h *Hosts) Replace(ctx context.Context, box, key string, src sandbox.TreeSource) error {
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	p, err := h.settle(ctx, box)
	if err != nil {
		return err
	}
	gone, err := h.await(ctx, p.Host)
	if err != nil {
		return err
	}
	if gone {
		to, err := h.pick(ctx, box, p.Host)
		if err != nil {
			return err
		}
		if p, err = h.update(ctx, p, func(p *sandbox.Place) { moveTo(p, to); p.Bring, p.Part, p.Done, p.Saved = false, nil, 1, 0 }); err != nil {
			return err
		}
		h.tell(ctx, p)
	}
	if err := h.c.Runners[p.Host].Replace(ctx, box, key, src); err != nil {
		return err
	}
	_, err = h.update(ctx, p, func(p *sandbox.Place) { p.Bring = false; p.Done++ })
	return err
}

// Close implements sandbox.Runner. A host that does not answer is looked after by
// Boxes when it is back.
func (h *Hosts) Close(ctx context.Context, box string) error {
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	var all error
	for _, host := range h.names {
		if err := h.answers(ctx, host); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		all = errors.Join(all, h.c.Runners[host].Close(ctx, box))
	}
	if all != nil {
		return all
	}
	return h.c.Places.DropPlace(ctx, box)
}

// Boxes implements sandbox.Runner. It removes what hosts have of boxes that have
// moved away, such as a host that was away and is back.
func (h *Hosts) Boxes(ctx context.Context) ([]string, error) {
	on, all := map[string][]string{}, error(nil)
	for _, host := range h.names {
		if h.answers(ctx, host) != nil {
			continue
		}
		boxes, err := h.c.Runners[host].Boxes(ctx)
		on[host], all = boxes, errors.Join(all, err)
	}
	if all != nil || ctx.Err() != nil {
		return nil, errors.Join(all, ctx.Err())
	}
	// After the hosts were asked: a place is written down before its box is made.
	places, err := h.Kept(ctx)
	if err != nil {
		return nil, err
	}
	where := map[string]string{}
	for _, p := range places {
		if p.Owner == h.c.Owner() {
			where[p.Box] = p.Host
		}
	}
	var boxes []string
	for host, found := range on {
		for _, box := range found {
			boxes = append(boxes, box)
			if at := where[box]; at != "" && at != host {
				all = errors.Join(all, h.tidy(ctx, box, host))
			}
		}
	}
	for box := range where {
		boxes = append(boxes, box)
	}
	slices.Sort(boxes)
	return slices.Compact(boxes), all
}

// tidy removes what a box has left on a host. Its place is looked up right before: a
// sweep takes a while, and the box may have come back.
func (h *Hosts) tidy(ctx context.Context, box, host string) error {
	p, ok, err := h.c.Places.Place(ctx, box)
	if err != nil {
		return fmt.Errorf("find the host of box %s: %w", box, err)
	}
	if !ok || p.Host == host {
		return nil
	}
	h.c.Logger.InfoContext(ctx, "remove what a box left on a host", "box", box, "host", host, "now", p.Host)
	return h.c.Runners[host].Close(ctx, box)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// hosts are the engines of WFLO_SANDBOX_HOSTS as one. Each is asked at the same time as
// the others, and what one does not answer hides nothing of what the others do: methods
// that give lists give what there is together with the error, which names the host.
type hosts struct {
	all []host // in the order of the configuration

	mu sync.Mutex
	at map[string]host // where a sandbox was seen, by its id
}

type host struct {
	name string
	Sandboxes
}

var _ Sandboxes = (*hosts)(nil)

// sandboxHosts connects to the engines that the environment names: config says what
// they have in common. With --host it is that one alone. The caller shuts it down.
func (a *app) sandboxHosts(ctx context.Context, config docker.Config) (Sandboxes, error) {
	named, err := plugin.SandboxEngines()
	if err != nil {
		return nil, err
	}
	if len(named.Hosts) == 0 {
		if a.sandboxHost != "" {
			return nil, Usage("set WFLO_SANDBOX_HOSTS as for the worker", "--host is %s, and no hosts are named", a.sandboxHost)
		}
		config.Host, config.CertPath = named.Host, named.CertPath // empty leaves it to DOCKER_HOST
		return a.deps.Sandboxes(ctx, config)
	}
	h := &hosts{at: map[string]host{}}
	names := make([]string, 0, len(named.Hosts))
	for _, one := range named.Hosts {
		if names = append(names, one.Name); a.sandboxHost != "" && one.Name != a.sandboxHost {
			continue
		}
		config.Host, config.CertPath = one.Address, one.CertPath
		boxes, err := a.deps.Sandboxes(ctx, config)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("host %s: %w", one.Name, err), h.Shutdown(ctx))
		}
		h.all = append(h.all, host{one.Name, boxes})
	}
	if len(h.all) == 0 {
		return nil, oneOf("--host", a.sandboxHost, names...)
	}
	return h, nil
}

// each asks all hosts at the same time. Its error is theirs, in their order.
func (h *hosts) each(ask func(i int, one host) error) error {
	errs := make([]error, len(h.all))
	var group sync.WaitGroup
	for i, one := range h.all {
		group.Go(func() {
			if err := ask(i, one); err != nil {
				errs[i] = fmt.Errorf("host %s: %w", one.name, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// Run runs on the first host that answers. The Runner of a worker chooses by the box or
// the key; a program of the command line has neither that matters.
func (h *hosts) Run(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	var all error
	for _, one := range h.all {
		if _, err := one.List(ctx); err != nil {
			all = errors.Join(all, fmt.Errorf("host %s: %w", one.name, err))
			continue
		}
		res, err := one.Run(ctx, spec, watch)
		if err == nil {
			res.Host = one.name
		}
		return res, err
	}
	if ctx.Err() != nil {
		return sandbox.Result{Outcome: sandbox.Cancelled}, nil //nolint:nilerr // cancelling is no fault; see sandbox.Runner
	}
	return sandbox.Result{}, all
}

// List gives the sandboxes of all hosts that answer.
func (h *hosts) List(ctx context.Context) ([]docker.Sandbox, error) {
	lists := make([][]docker.Sandbox, len(h.all))
	err := h.each(func(i int, one host) (err error) {
		lists[i], err = one.List(ctx)
		return err
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, list := range lists {
		for j := range list {
			list[j].Host = h.all[i].name
			h.at[list[j].ID] = h.all[i]
		}
	}
	return slices.Concat(lists...), err
}

// seen gives the host on which List has seen a sandbox.
func (h *hosts) seen(id string) (host, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, ok := h.at[id]
	if !ok {
		return host{}, wflo.Invalid("sandbox", fmt.Sprintf("%.80q is on none of the hosts", id), "see: wflo sandbox ls --all --all-owners")
	}
	return one, nil
}

// Stats asks the host that has it.
func (h *hosts) Stats(ctx context.Context, id string) (docker.Stats, error) {
	one, err := h.seen(id)
	if err != nil {
		return docker.Stats{}, err
	}
	return one.Stats(ctx, id)
}

// Kill tells the host that has it.
func (h *hosts) Kill(ctx context.Context, id string) error {
	one, err := h.seen(id)
	if err != nil {
		return err
	}
	return one.Kill(ctx, id)
}

// Collect clears away on all hosts that answer.
func (h *hosts) Collect(ctx context.Context, dryRun bool) (docker.Collected, error) {
	found := make([]docker.Collected, len(h.all))
	err := h.each(func(i int, one host) (err error) {
		found[i], err = one.Collect(ctx, dryRun)
		return err
	})
	var all docker.Collected
	for _, c := range found {
		all.Containers, all.Volumes = append(all.Containers, c.Containers...), append(all.Volumes, c.Volumes...)
	}
	return all, err
}

// Defences gives those of all hosts. One that says nothing of its own lacks an engine.
func (h *hosts) Defences(ctx context.Context) ([]docker.Defence, error) {
	found := make([][]docker.Defence, len(h.all))
	err := h.each(func(i int, one host) (err error) {
		if found[i], err = one.Defences(ctx); err != nil && len(found[i]) == 0 {
			message, hint := wflo.Explain(err)
			found[i] = []docker.Defence{{Name: "engine", Detail: message, Hint: hint, Required: true}}
		}
		for j := range found[i] {
			found[i][j].Host = h.all[i].name
		}
		return err
	})
	return slices.Concat(found...), err
}

// Shutdown lets go of all hosts.
func (h *hosts) Shutdown(ctx context.Context) error {
	return h.each(func(_ int, one host) error { return one.Shutdown(ctx) })
}

// several says that a list is of more than the one host that has no name.
func several[T any](list []T, name func(T) string) bool {
	return slices.ContainsFunc(list, func(v T) bool { return name(v) != "" })
}

// about is a defence by its name, and by its host where there are several.
func about(d docker.Defence) string {
	return strings.TrimPrefix(d.Host+": "+d.Name, ": ")
}

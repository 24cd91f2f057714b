package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// gateFilter selects gates. The zero value means all that are open.
type gateFilter struct {
	mine, closed bool
	run, group   string
}

func (f gateFilter) validate() error {
	if f.mine && f.group != "" {
		return Usage("use one of them", "--mine and --group exclude each other")
	}
	return nil
}

// gateSource is where gates come from and where decisions on them go: the API, which
// has an index and signs for whoever proves who they are, or the runs themselves by
// Temporal, which judge what somebody signs here.
type gateSource interface {
	// list gives gates without their payloads, those that time out first first.
	list(ctx context.Context, f gateFilter) ([]desk.Item, error)
	// find gives the one gate that a name means. A gate that is over is found where
	// over says so.
	find(ctx context.Context, name, run string, over func(wflo.Gate) bool) (desk.View, error)
	// view reads a gate that was listed.
	view(ctx context.Context, g wflo.Gate) (desk.View, error)
	// decide delivers a decision and gives the gate as it is after it.
	decide(ctx context.Context, g wflo.Gate, d wflo.Decision) (desk.View, error)
	// who is the name in which decisions are made.
	who() string
	// page is where the gate can be decided in a browser, or "".
	page(g wflo.Gate) string
	close()
}

// pageSize is how many gates are listed at once.
const pageSize = desk.MostItems

// apiGates asks the API.
type apiGates struct {
	api  *api
	name string
}

func (s *apiGates) close() {}

func (s *apiGates) who() string { return s.name }

func (s *apiGates) page(g wflo.Gate) string {
	if g.Nonce == "" {
		return ""
	}
	return s.api.base + "/gates" + segment(g.Nonce)
}

func (s *apiGates) list(ctx context.Context, f gateFilter) ([]desk.Item, error) {
	q := url.Values{"limit": {strconv.Itoa(pageSize)}}
	if f.mine {
		q.Set("mine", "true")
	}
	if f.closed {
		q.Set("closed", "true")
	}
	if f.run != "" {
		q.Set("workflow", f.run)
	}
	if f.group != "" {
		q.Set("approver", "group:"+f.group)
	}
	var all []desk.Item
	for {
		var some []desk.Item
		if err := s.api.get(ctx, "/approvals", q, &some); err != nil {
			return nil, err
		}
		all = append(all, some...)
		// What is over is listed to be looked at; one page of it is enough.
		if len(some) < pageSize || f.closed {
			return all, nil
		}
		q.Set("after", some[len(some)-1].Nonce)
	}
}

func (s *apiGates) find(ctx context.Context, name, run string, over func(wflo.Gate) bool) (desk.View, error) {
	fits := func(i desk.Item) bool { return i.ID == name || i.WorkflowID == name || i.Nonce == name }
	items, err := s.list(ctx, gateFilter{run: run})
	if err != nil {
		return desk.View{}, err
	}
	matches := filtered(items, fits)
	switch {
	case len(matches) == 1:
		return s.view(ctx, matches[0].Gate)
	case len(matches) > 1:
		return desk.View{}, Usage("name one: "+decideTargets(gatesOf(matches)), "%s fits %d open gates", name, len(matches))
	}
	if items, err = s.list(ctx, gateFilter{run: run, closed: true}); err != nil {
		return desk.View{}, err
	}
	if matches = filtered(items, fits); len(matches) == 0 {
		return desk.View{}, noSuchGate(name, run)
	}
	v, err := s.view(ctx, matches[0].Gate) // the latest
	if err != nil || v.Status == wflo.GateOpen || over(v.Gate) {
		return v, err
	}
	return desk.View{}, isOver(v.Gate)
}

func (s *apiGates) view(ctx context.Context, g wflo.Gate) (desk.View, error) {
	var v desk.View
	err := s.api.get(ctx, "/approvals"+segment(g.Nonce), nil, &v)
	return v, err
}

func (s *apiGates) decide(ctx context.Context, g wflo.Gate, d wflo.Decision) (desk.View, error) {
	req := desk.Request{Digest: g.Digest, Verdict: d.Verdict, Reason: d.Reason, Text: d.Text, Form: d.Form, Edit: d.Edit, ID: d.ID}
	var after wflo.Gate
	if err := s.api.do(ctx, http.MethodPost, "/approvals"+segment(g.Nonce)+"/decisions", req, &after); err != nil {
		return desk.View{}, refusal(err)
	}
	// The view knows who is in which group. It may come from before the decision where
	// its run is slow to answer, so that what the decision gave wins.
	v, err := s.view(ctx, after)
	if err != nil || v.Changes < after.Changes {
		return viewOf(after), nil //nolint:nilerr // it is decided; this only shows
	}
	return v, nil
}

// runGates asks the runs.
type runGates struct {
	app *app
	c   *connection
	as  string
	key *localKey
}

func (s *runGates) close() { s.c.Close() }

func (s *runGates) who() string { return s.as }

func (s *runGates) page(wflo.Gate) string { return "" }

func (s *runGates) list(ctx context.Context, f gateFilter) ([]desk.Item, error) {
	if f.closed {
		return nil, Usage("log in with: wflo login", "--closed is for the index of the API, which answers at no address here")
	}
	var gates []wflo.Gate
	var err error
	if f.run != "" {
		if gates, err = s.c.gates(ctx, f.run); err != nil {
			return nil, s.c.explain(err, f.run)
		}
		gates = open(gates)
	} else {
		gates, err = s.c.openGates(ctx)
	}
	gates = slices.DeleteFunc(gates, func(g wflo.Gate) bool {
		may := g.MayDecide()
		return f.mine && may != nil && !slices.Contains(may, s.as) || f.group != "" && may != nil && !slices.Contains(may, "group:"+f.group)
	})
	items := make([]desk.Item, 0, len(gates))
	for _, g := range gates {
		items = append(items, itemOf(g))
	}
	return items, err
}

func (s *runGates) find(ctx context.Context, name, run string, over func(wflo.Gate) bool) (desk.View, error) {
	g, err := s.c.findGate(ctx, name, run, over)
	if err != nil {
		return desk.View{}, err
	}
	return viewOf(g), nil
}

func (s *runGates) view(_ context.Context, g wflo.Gate) (desk.View, error) { return viewOf(g), nil }

func (s *runGates) decide(ctx context.Context, g wflo.Gate, d wflo.Decision) (desk.View, error) {
	after, err := s.app.sign(ctx, s.c, g, d, s.as, s.key)
	if err != nil {
		return desk.View{}, err
	}
	return viewOf(after), nil
}

// gateSource gives the API where somebody has logged in and brings no key of their
// own, and else the runs. For looking, an API that asks nobody who they are will do.
func (a *app) gateSource(ctx context.Context, f decideFlags, look bool) (gateSource, error) {
	own := f.key != ""
	c, err := a.api()
	switch {
	case err != nil && !own:
		return nil, err
	case own:
	case c.token != "":
		if f.as != "" {
			return nil, Usage("leave it out, or sign with a key of your own: --key FILE", "--as is for decisions that are signed here; the API knows who you are")
		}
		return a.throughAPI(ctx, c)
	case look && c.hasIndex(ctx):
		return &apiGates{api: c, name: f.by()}, nil
	}
	var key *localKey
	if !look {
		if key, err = signer(f.key); err != nil {
			return nil, err
		}
	}
	conn, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &runGates{app: a, c: conn, as: f.by(), key: key}, nil
}

func (a *app) throughAPI(ctx context.Context, c *api) (gateSource, error) {
	var who wflo.Identity
	if err := c.get(ctx, "/whoami", nil, &who); err != nil {
		return nil, err
	}
	if !c.hasIndex(ctx) {
		return nil, wflo.Errorf("", "name the console with --api, or decide with a key of your own: --key FILE", "the API at %s has no index of gates", c.base)
	}
	return &apiGates{api: c, name: who.Subject}, nil
}

// hasIndex says whether the API answers for single gates: a worker without records
// does not. No gate has this name.
func (c *api) hasIndex(ctx context.Context) bool {
	if c.token == "" { // it is asked by the way
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, glanceLimit)
		defer cancel()
	}
	return errors.Is(c.get(ctx, "/approvals/-", nil, &desk.View{}), errNotThere)
}

func filtered(items []desk.Item, keep func(desk.Item) bool) []desk.Item {
	return slices.DeleteFunc(slices.Clone(items), func(i desk.Item) bool { return !keep(i) })
}

func gatesOf(items []desk.Item) []wflo.Gate {
	gates := make([]wflo.Gate, 0, len(items))
	for _, i := range items {
		gates = append(gates, i.Gate)
	}
	return gates
}

// itemOf counts votes as they are shown: the run has verified them already.
func itemOf(g wflo.Gate) desk.Item {
	item := desk.Item{Gate: g}
	item.Have, item.Need = forShow(g).Need(shownTerms)
	return item
}

func viewOf(g wflo.Gate) desk.View {
	v := desk.View{Item: itemOf(g), Live: true}
	shown := forShow(g)
	for _, f := range g.Asked() {
		need := max(f.Quorum, 1)
		v.Sets = append(v.Sets, desk.Set{Approvers: f.Approvers, Have: min(shown.Has(f, shownTerms), need), Need: need, Rule: f.Rule})
	}
	return v
}

// shownTerms take every vote that the run took.
var shownTerms = wflo.Terms{AllowUnsigned: true}

func forShow(g wflo.Gate) wflo.Gate {
	g.Approval.SignedOnly = false
	g.Votes = slices.Clone(g.Votes)
	for i := range g.Votes {
		g.Votes[i].Signature = ""
	}
	return g
}

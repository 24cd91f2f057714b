package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Route sends calls to other models than they ask for. All its conditions must
// hold; one that is left out always does.
type Route struct {
	// Model is the model that is asked for, as "gpt-5.4-mini" or with its
	// provider, "openai/gpt-5.4-mini". A * stands for any text. It need not be a
	// model that exists: "cheap" can be routed as well.
	Model string `json:"model,omitempty"`
	// Scopes are what the call must be attributed to, all of them, such as
	// "team:payments" or "tag:env=dev".
	Scopes []string `json:"scopes,omitempty"`
	// MaxInput is the largest prompt, in tokens as they are estimated before the
	// call.
	MaxInput int64 `json:"max_input,omitempty"`
	// Above is how much of a budget of the call must be spent, in percent: 75
	// from the moment on that its threshold of 75 alerts. It is read at most every
	// few seconds.
	Above int `json:"above,omitempty"`
	// To are the models to ask, the first that this worker has a provider and a
	// price for. The others are for when it fails. Required.
	To []string `json:"to"`
}

// Validate says what is wrong with the route, if anything.
func (r Route) Validate() error {
	for i, scope := range r.Scopes {
		if _, name, err := wflo.SplitBudgetID(scope); err != nil || name == wflo.Each {
			return wflo.Invalid(fmt.Sprintf("route.scopes[%d]", i), fmt.Sprintf("is %q", scope), "name one as SCOPE:NAME, such as team:payments or tag:env=dev")
		}
	}
	switch {
	case r.MaxInput < 0:
		return wflo.Invalid("route.max_input", fmt.Sprintf("is %d", r.MaxInput), "give a number of tokens, or leave it out")
	case r.Above < 0 || r.Above > 100:
		return wflo.Invalid("route.above", fmt.Sprintf("is %d", r.Above), "give a percentage from 1 to 100, or leave it out")
	case len(r.To) == 0:
		return wflo.Invalid("route.to", "is empty", "name the models that shall be asked, best first")
	}
	for i, name := range r.To {
		if name == "" || strings.Contains(name, "*") {
			return wflo.Invalid(fmt.Sprintf("route.to[%d]", i), fmt.Sprintf("is %q", name), "name one model, such as gpt-5.4-mini")
		}
	}
	return nil
}

// ValidateRoutes is Validate for each route, and refuses targets without a
// price: a call that is sent there could not be made.
func ValidateRoutes(routes []Route, prices Prices) error {
	for i, r := range routes {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("routes[%d]: %w", i, err)
		}
		for j, name := range r.To {
			if _, err := prices.Find("", name, time.Now(), 0); err != nil {
				return fmt.Errorf("routes[%d]: to[%d]: %w", i, j, err)
			}
		}
	}
	return nil
}

// targets are the models to ask, in order: those of the first route that
// matches, or else the one that the prompt names, then its Fallback. Models that
// cannot be used are left out as long as another can, except for one that the
// prompt names and nobody knows: that is a slip of the pen.
func (l *LLM) targets(ctx context.Context, run wflo.Run, p wflo.Prompt) ([]*call, error) {
	at := time.Now()
	names, routed := l.route(ctx, run, p, at)
	var usable []*call
	var problem error
	for i, name := range slices.Concat(names, p.Fallback) {
		q := p
		q.Model = name
		c, err := l.plan(run, q, at)
		switch {
		case err == nil && !slices.ContainsFunc(usable, func(o *call) bool { return o.name() == c.name() }):
			usable = append(usable, c)
		case err == nil:
		case i == 0 && !routed && wflo.CodeOf(err) != wflo.CodeMissingKey:
			return nil, err
		default:
			l.log().DebugContext(ctx, "model cannot be used", "model", name, "error", err.Error())
			if problem == nil {
				problem = err
			}
		}
	}
	if len(usable) == 0 {
		return nil, problem
	}
	return l.circuit.order(usable, at), nil
}

// route gives the models of the first route that matches.
func (l *LLM) route(ctx context.Context, run wflo.Run, p wflo.Prompt, at time.Time) (names []string, routed bool) {
	if len(l.Routes) == 0 {
		return []string{p.Model}, false
	}
	vendor, model := "", p.Model
	if price, err := l.Prices.Find("", p.Model, at, 0); err == nil {
		vendor = vendorOf(price)
		model = strings.TrimPrefix(p.Model, vendor+"/")
	}
	scopes := run.Scopes(vendor, model)
	size := sizeOf(p)
	input := size.Bound
	if !l.Strict {
		input = l.estimator().Estimate(run, vendor, model, size)
	}
	for _, r := range l.Routes {
		if r.Model != "" && !matches(r.Model, p.Model) && !matches(r.Model, vendor+"/"+model) && !matches(r.Model, model) {
			continue
		}
		missing := func(s string) bool { return !slices.Contains(scopes, s) }
		if slices.ContainsFunc(r.Scopes, missing) || r.MaxInput > 0 && input > r.MaxInput {
			continue
		}
		if r.Above == 0 || l.above(ctx, run, scopes, r.Above, at) {
			return r.To, true
		}
	}
	return []string{p.Model}, false
}

// matches says whether a text fits a pattern, in which * stands for any text.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// above says whether so many percent of one of the call's budgets are spent.
func (l *LLM) above(ctx context.Context, run wflo.Run, scopes []string, percent int, at time.Time) bool {
	ids := slices.Clone(scopes)
	for _, line := range run.Lines {
		if !slices.Contains(ids, line.ID) {
			ids = append(ids, line.ID)
		}
	}
	for _, id := range ids {
		s, ok := l.usage.recall(id, at)
		if !ok {
			var err error
			if s, err = l.Ledger.Spend(ctx, id); err != nil {
				// The route is advice: whether there is money is decided by the
				// reservation.
				l.log().WarnContext(ctx, "budget cannot be read for a route", "budget", id, "error", err.Error())
				continue
			}
			l.usage.keep(id, s, at)
		}
		// In this order because money times a hundred may overflow.
		part := s.Limit/100*wflo.Money(percent) + s.Limit%100*wflo.Money(percent)/100
		if s.Limit > 0 && s.Spent >= part {
			return true
		}
	}
	return false
}

const (
	// shareAge is how long a budget is taken to be as it was read for a route.
	shareAge = 3 * time.Second
	// maxShares bounds what is remembered of budgets.
	maxShares = 4096
)

// shares remembers budgets for a moment, so that routes do not read them for
// every call. Its zero value is ready.
type shares struct {
	mu   sync.Mutex
	read map[string]share
}

type share struct {
	spend wflo.Spend
	at    time.Time
}

func (s *shares) recall(id string, at time.Time) (wflo.Spend, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.read[id]
	return r.spend, ok && at.Sub(r.at) < shareAge
}

func (s *shares) keep(id string, spend wflo.Spend, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil || len(s.read) >= maxShares {
		s.read = make(map[string]share)
	}
	s.read[id] = share{spend, at}
}

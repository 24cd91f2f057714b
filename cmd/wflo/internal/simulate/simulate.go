// Package simulate reads from Temporal's histories what runs did, as facts that
// policies can judge again. [Reader.Read] gives a run as a [Past]; package policy
// compares what two sets of policies make of its calls.
//
// Histories hold what activities were called with, when, for whom and after which
// costs. They do not hold everything that policies saw: what steps declare
// (operation, effect, arguments) and the worst case of a model call's price are not
// in them. Where the run was governed, history has the hash of the facts that were
// judged: what was declared is tried until it fits, and [Call.Exact] says that the
// facts here are just those.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

// Histories is the part of a Temporal client that gives histories.
type Histories interface {
	GetWorkflowHistory(ctx context.Context, workflowID, runID string, longPoll bool, filter enumspb.HistoryEventFilterType) client.HistoryEventIterator
}

// Reader reads runs. Its methods may be called at the same time.
type Reader struct {
	Client Histories
	// Converter reads payloads; nil means Temporal's default.
	Converter converter.DataConverter
	// Namespace is where the runs are.
	Namespace string
}

// Past is what a run did.
type Past struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id,omitempty"`
	Workflow   string `json:"workflow"`
	// Began is when the first run of the chain did, Ended the time of the last event.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Calls are the activities that were called and the gates that were opened, in
	// their order. Those that undid something are not among them, because nothing
	// keeps them from happening.
	Calls []Call `json:"calls"`
	// Rulings are those that history has, in their order.
	Rulings []Ruling `json:"rulings,omitempty"`
	// Unread counts calls whose input could not be read, and children.
	Unread int `json:"unread,omitempty"`
}

// Call is something that policies judge.
type Call struct {
	// Event is its number in the history.
	Event int64     `json:"event"`
	At    time.Time `json:"at"`
	// Step is the key of the call.
	Step  string     `json:"step,omitempty"`
	Facts wflo.Facts `json:"facts"`
	// Exact says that policies judged just these facts when the run was under way.
	Exact bool `json:"exact"`
}

// Ruling is one that history has.
type Ruling struct {
	Event int64     `json:"event"`
	At    time.Time `json:"at"`
	// About says what was judged, as the run summed it up.
	About  string      `json:"about,omitempty"`
	Ruling wflo.Ruling `json:"ruling"`

	// nows are the times that the workflow saw last, and taken says that the call
	// was found.
	nows  []time.Time
	taken bool
}

// Read reads a run; an empty runID means the latest.
func (r Reader) Read(ctx context.Context, workflowID, runID string) (Past, error) {
	w, err := r.walk(ctx, workflowID, runID, maxChildren)
	if err != nil {
		return Past{}, err
	}
	return w.past, nil
}

// maxChildren bounds how deep children are followed for what they spent.
const maxChildren = 5

func (r Reader) walk(ctx context.Context, workflowID, runID string, depth int) (*walk, error) {
	if r.Converter == nil {
		r.Converter = converter.GetDefaultDataConverter()
	}
	hash, err := hasher()
	if err != nil {
		return nil, err
	}
	w := &walk{reader: r, hash: hash, past: Past{WorkflowID: workflowID, RunID: runID}, asked: map[int64]bool{}}
	if depth > 0 {
		w.readChild = func(workflowID, runID string) *walk {
			child, err := r.walk(ctx, workflowID, runID, depth-1)
			if err != nil {
				return nil
			}
			return child
		}
	}
	for it := r.Client.GetWorkflowHistory(ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			return nil, fmt.Errorf("read the history of %s: %w", workflowID, err)
		}
		if w.nows == nil && e.GetWorkflowExecutionStartedEventAttributes() == nil {
			break
		}
		w.see(e)
	}
	if w.nows == nil {
		return nil, fmt.Errorf("read the history of %s: %w", workflowID, errors.New("it does not begin with a start"))
	}
	return w, nil
}

// Facts are those of all calls.
func (p Past) Facts() []wflo.Facts {
	all := make([]wflo.Facts, len(p.Calls))
	for i, c := range p.Calls {
		all[i] = c.Facts
	}
	return all
}

// Moments adds what conditions on time see: each moment at which one of the sets
// looks at the run, if it was still going.
func (p Past) Moments(sets ...*policy.Set) []Call {
	var calls []Call
	seen := map[time.Duration]bool{}
	for _, s := range sets {
		for _, after := range s.Pin().Timers {
			at := p.Began.Add(after)
			if seen[after] || at.After(p.Ended) {
				continue
			}
			seen[after] = true
			calls = append(calls, Call{At: at, Facts: p.at(at)})
		}
	}
	return calls
}

// at are the facts of the run at a moment.
func (p Past) at(at time.Time) wflo.Facts {
	f := wflo.Facts{Args: noArgs, Workflow: wflo.WorkflowFacts{ID: p.WorkflowID, Type: p.Workflow}}
	for _, c := range p.Calls {
		if c.At.After(at) {
			break
		}
		f = c.Facts
	}
	return wflo.Facts{
		Kind: wflo.FactsTime, Operation: "time", User: f.User, Team: f.Team, Org: f.Org, Agent: f.Agent, Tags: f.Tags, Cost: f.Cost, Calls: f.Calls,
		Workflow: f.Workflow, Budget: f.Budget, Time: wflo.TimeFactsAt(at), ExecutionTime: at.Sub(p.Began).Seconds(), Args: noArgs,
	}
}

// hasher gives the hash that rulings name facts by.
func hasher() (func(wflo.Facts) string, error) {
	set, err := policy.New(policy.Rules{Default: wflo.EffectAllow})
	if err != nil {
		return nil, fmt.Errorf("make an empty set of policies: %w", err)
	}
	return func(f wflo.Facts) string { return set.Judge(f).Facts }, nil
}

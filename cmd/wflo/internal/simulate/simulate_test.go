package simulate

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

// recorded stands for a server that has one history.
type recorded struct{ events []*historypb.HistoryEvent }

func (r *recorded) GetWorkflowHistory(context.Context, string, string, bool, enumspb.HistoryEventFilterType) client.HistoryEventIterator {
	return &recorded{r.events}
}

func (r *recorded) HasNext() bool { return len(r.events) > 0 }

func (r *recorded) Next() (*historypb.HistoryEvent, error) {
	e := r.events[0]
	r.events = r.events[1:]
	return e, nil
}

// past reads a history that a real server recorded.
func past(t *testing.T, name, workflowID string) Past {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../../workflows/testdata/histories", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var h historypb.History
	if err := (temporalproto.CustomJSONUnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &h); err != nil {
		t.Fatal(err)
	}
	p, err := Reader{Client: &recorded{h.Events}, Namespace: "default"}.Read(t.Context(), workflowID, "")
	if err != nil {
		t.Fatal(err)
	}
	if p.Unread != 0 {
		t.Errorf("%d calls were not read", p.Unread)
	}
	return p
}

func load(t *testing.T, text string) *policy.Set {
	t.Helper()
	s, err := policy.Load("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The facts are those that were judged: their hashes are in the history.
func TestExact(t *testing.T) {
	for name, want := range map[string]int{"policy-asks": 3, "policy-allows": 1} {
		p := past(t, name, name)
		if len(p.Calls) < want || len(p.Rulings) == 0 {
			t.Fatalf("%s: %d calls, %d rulings", name, len(p.Calls), len(p.Rulings))
		}
		for _, c := range p.Calls {
			if !c.Exact {
				t.Errorf("%s: event %d is not what was judged: %+v", name, c.Event, c.Facts)
			}
		}
	}
}

// A model call has what history knows of it, and later calls its cost.
func TestModel(t *testing.T) {
	p := past(t, "agent", "agent")
	var model, rest int
	for _, c := range p.Calls {
		switch c.Facts.Kind {
		case wflo.FactsModel:
			model++
			if c.Facts.Model == "" || c.Facts.Provider == "" || c.Facts.Calls != model-1 {
				t.Errorf("call %d: %+v", model, c.Facts)
			}
			if model > 1 && c.Facts.Cost == 0 {
				t.Errorf("call %d does not know what the first one cost", model)
			}
		default:
			rest++
		}
	}
	if model < 2 || rest == 0 {
		t.Errorf("%d model calls, %d others", model, rest)
	}
}

// Other policies judge the same calls, and time.
func TestSimulate(t *testing.T) {
	p := past(t, "policy-asks", "policy-asks")
	before := load(t, "default: allow\n")
	after := load(t, "default: allow\npolicies:\n  - name: second\n    when: args[\"0\"] == 'line 1'\n    on: [activity]\n    do: [halt: {reason: no}]\n  - name: slow\n    when: execution_time > 0.001\n    on: [time]\n    do: [audit: info]\n")
	changes := before.Simulate(after, p.Facts())
	if len(changes) != 1 || changes[0].After.Effect != wflo.EffectHalt || !changes[0].Stricter() {
		t.Errorf("got %+v", changes)
	}
	moments := p.Moments(before, after)
	if len(moments) != 1 || after.Judge(moments[0].Facts).Effect != wflo.EffectAudit {
		t.Errorf("got %+v", moments)
	}
}

func TestScopes(t *testing.T) {
	for _, tc := range []struct{ key, activity, want string }{
		{"Refund#1", "Refund", ""},
		{"g2/Refund#1", "Refund", ""},
		{"pay#3/Refund#1", "Refund", "pay"},
		{"g2/outer#1/pay#3/a/b#1", "a/b", "pay"},
		{"pay/order-7/Refund#1", "Refund", "pay"},
	} {
		if got := scopes(tc.key, tc.activity)[0]; got != tc.want {
			t.Errorf("%s: %q, want %q", tc.key, got, tc.want)
		}
	}
	if all := scopes("outer#1/pay/order-7/Refund#1", "Refund"); !slices.Contains(all, "pay") {
		t.Errorf("got %q", all)
	}
}

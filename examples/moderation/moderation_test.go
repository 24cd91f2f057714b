package moderation_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/moderation"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// moderated runs one post, of which the model says this, and gives what was published.
func moderated(t *testing.T, model string, decide func(wflo.Gate) wflo.Decision) (env *wflotest.Env, out moderation.Outcome, shown []string) {
	t.Helper()
	set, err := moderation.Policies()
	if err != nil {
		t.Fatal(err)
	}
	env = wflotest.New(t, wflotest.Config{
		Script: func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: model} },
		User:   "una", Decide: decide,
		Plugin: func(c *plugin.Config) { c.Policies = set },
	})
	moderation.Register(env, &moderation.Posts{Show: func(_ context.Context, p moderation.Post) error {
		shown = append(shown, p.ID)
		return nil
	}})
	if err := env.Run(moderation.Moderate, moderation.Post{ID: "p1", Author: "una", Text: "What a lovely day"}); err != nil {
		t.Fatal(err)
	}
	env.Result(&out)
	return env, out, shown
}

// says is a decision of somebody of a group.
func says(v wflo.Verdict, by, group string) func(wflo.Gate) wflo.Decision {
	return func(g wflo.Gate) wflo.Decision {
		d := g.Decide(v, by)
		d.Groups, d.Reason = []string{group}, "seen"
		return d
	}
}

func TestSafePostsNeedNobody(t *testing.T) {
	env, out, shown := moderated(t, `{"verdict":"safe","confidence":0.97,"reason":"friendly"}`, says(wflo.VerdictReject, "mia", "moderators"))
	if !out.Published || !slices.Equal(shown, []string{"p1"}) || out.By != "policy clearly-safe" || len(env.Gates()) != 0 {
		t.Errorf("%+v, shown %v, gates %+v", out, shown, env.Gates())
	}
	// That nobody was asked is on record, with what was judged.
	records, err := env.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditPolicyRuled})
	if err != nil || len(records) == 0 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func TestModeratorsDecideTheRest(t *testing.T) {
	for name, tt := range map[string]struct {
		model  string
		decide func(wflo.Gate) wflo.Decision
		shown  bool
	}{
		"unsure, approved":        {`{"verdict":"safe","confidence":0.95,"reason":"x"}`, says(wflo.VerdictApprove, "mia", "moderators"), true},
		"unsafe, rejected":        {`{"verdict":"unsafe","confidence":0.99,"reason":"x"}`, says(wflo.VerdictReject, "mia", "moderators"), false},
		"prose, approved":         {`It is safe, I am sure: 0.99`, says(wflo.VerdictApprove, "mia", "moderators"), true},
		"no confidence, rejected": {`{"verdict":"safe"}`, says(wflo.VerdictReject, "mia", "moderators"), false},
		"the author approves":     {`{"verdict":"unsafe","confidence":0.99}`, says(wflo.VerdictApprove, "una", "moderators"), false},
		"a stranger approves":     {`{"verdict":"unsafe","confidence":0.99}`, says(wflo.VerdictApprove, "tim", "staff"), false},
		"nobody answers":          {`{"verdict":"unsafe","confidence":0.99}`, func(wflo.Gate) wflo.Decision { return wflo.Decision{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			env, out, shown := moderated(t, tt.model, tt.decide)
			if out.Published != tt.shown || len(shown) > 0 != tt.shown {
				t.Errorf("%+v, shown %v", out, shown)
			}
			if gates := env.Gates(); len(gates) != 1 || !slices.Equal(gates[0].Approval.Approvers, []string{"group:moderators"}) {
				t.Errorf("gates %+v", gates)
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	set, err := moderation.Policies()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("policies_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	report, err := policy.RunTests(set, "policies_test.yaml", source)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		for _, d := range r.Differences {
			t.Errorf("%s: %s", r.Name, d)
		}
	}
	if len(report.Untested) > 0 || len(report.Results) != 5 {
		t.Errorf("%d tests; untested: %v", len(report.Results), report.Untested)
	}
}

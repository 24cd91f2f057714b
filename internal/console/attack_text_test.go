package console

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
)

// What people may write anywhere, keys and reasons and names, is shown as text: with
// nothing in it that a browser obeys, and nothing that hides or turns what stands around
// it. And no header has it.
func TestAttackText(t *testing.T) {
	const evil = "<img src=x onerror=alert(1)>\u202egnp.exe\u200b\u2028'\"&"
	s := newTarget(t)
	ctx := t.Context()
	boss, _ := s.made("", time.Time{}, admin, approver)
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	written := string(text)
	if _, _, err := s.keys.Make(ctx, apikey.Spec{Name: evil, Subject: evil, Groups: []string{evil}, Roles: []wflo.AccessRole{viewer}, MadeBy: evil}); err != nil {
		t.Fatal(err)
	}
	run := wflo.Run{WorkflowID: "refund-17", FirstRunID: "first-17", Org: "acme", User: evil, Workflow: evil}
	if _, err := s.runs.Shoot(ctx, run, evil, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.runs.Dead(ctx, run, "undo-evil", evil); err != nil {
		t.Fatal(err)
	}
	if err := s.records.Append(ctx, wflo.AuditEvent{ID: "evil", Chain: "acme", At: time.Now(), Type: wflo.AuditPolicyRuled, Actor: evil, WorkflowID: "refund-17", FirstRunID: "first-17", Data: []byte(`{"x":` + written + `}`)}); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for _, one := range []struct{ method, path, body string }{
		{"PUT", "/api/v1/budgets/team:" + "x%E2%80%AE%3Cimg%3E", `{"limit":"5.00"}`},
		{"POST", "/api/v1/budgets/team:support/topups", `{"amount":"1.00","key":"evil","reason":` + written + `}`},
		{"POST", "/api/v1/keys", `{"name":` + written + `,"subject":` + written + `,"roles":["viewer"]}`},
		{"POST", "/api/v1/runs/refund-17/snapshots", `{"id":"evil","name":` + written + `}`},
		{"POST", "/api/v1/approvals/n1/decisions", `{"verdict":"reject","digest":"` + s.office.runs.Gate("n1").Digest + `","reason":` + written + `}`},
		{"POST", "/api/v1/compensations/undo-acme/resolve", `{"reason":` + written + `}`},
		{"POST", "/api/v1/runs/refund-17/restores", `{"id":"evil","to":{"snapshot":"before-charge"},"reason":` + written + `}`},
		{"POST", "/api/v1/runs/refund-17/halt", `{"reason":` + written + `}`},
	} {
		got := s.api(boss, one.method, one.path, one.body)
		switch got.status {
		case http.StatusOK, http.StatusAccepted:
			accepted++
		case http.StatusUnprocessableEntity, http.StatusBadRequest: // it may be refused
		default:
			t.Errorf("%s: %d %s", one.path, got.status, got.body)
		}
	}
	if accepted < 4 {
		t.Fatalf("only %d texts were taken; nothing is shown of them", accepted)
	}
	pages, shown := s.logIn(boss), 0
	for pattern, line := range tries {
		if !strings.HasPrefix(pattern, "GET ") || line.in == lasts || strings.Contains(pattern, "/login") {
			continue
		}
		paths := []answered{s.sent(pages, pattern, line)}
		if pattern == "GET /runs/{id}" {
			for _, section := range []string{"audit", "snapshots", "policy", "sandbox"} {
				paths = append(paths, s.send(pages, "GET", "/runs/refund-17?show="+section, ""))
			}
		}
		if pattern == "GET /restores/{id}" {
			paths = append(paths, s.send(pages, "GET", "/restores/evil", ""))
		}
		for _, got := range paths {
			html := strings.HasPrefix(got.header.Get("Content-Type"), "text/html")
			got.body = hiddenInput.ReplaceAllString(got.body, "") // what a form sends back is as it was, and is not shown
			if html {
				for _, never := range []string{"<img", "\u202e", "\u200b", "\u2028", "\x1b"} {
					if strings.Contains(got.body, never) {
						t.Errorf("%s shows %q: %s", pattern, never, around(got.body, never))
					}
				}
				if strings.Contains(got.body, "&lt;img") {
					shown++
				}
			}
			for name, values := range got.header {
				if strings.ContainsAny(strings.Join(values, ""), "\r\n\u202e<>") && name != "Link" {
					t.Errorf("%s: header %s is %q", pattern, name, values)
				}
			}
		}
	}
	if shown < 4 {
		t.Errorf("only %d pages show what was written", shown)
	}
}

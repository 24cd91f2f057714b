package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// A key is printed once, works, is listed without what opens it, and ends when it is
// revoked.
func TestKeys(t *testing.T) {
	o := newOffice(t)
	root := o.key("root", nil, wflo.RoleAdmin)
	made := o.reads("", root, "keys", "create", "--name", "ann's laptop", "--subject", "ann", "--role", "approver,viewer", "--group", "group:ops", "--expires", "90d", "--yes")
	plain := strings.TrimSpace(made.out)
	if made.code != 0 || !strings.HasPrefix(plain, "wflo_") || strings.Count(made.out, "\n") != 1 || strings.Contains(made.errOut, plain) {
		t.Fatalf("exit code %d, %d bytes on standard output:\n%s", made.code, len(made.out), made.errOut)
	}
	for _, part := range []string{"key ann's laptop for ann: approver, viewer, in ops, until " + time.Now().Add(90*day).UTC().Format("2006-01-02"), "this is the only time that it is shown"} {
		if !strings.Contains(made.errOut, part) {
			t.Errorf("lacks %q:\n%s", part, made.errOut)
		}
	}
	o.secrets = append(o.secrets, plain)
	o.does(plain, "whoami").want(t, 0, []string{"subject    ann", "groups     ops", "roles      approver, viewer"}, nil)
	id := strings.Split(plain, "_")[1]
	o.does(root, "keys", "list").want(t, 0, []string{id + "  ann's laptop", "good for 89d", "root"}, nil)
	o.does(plain, "keys", "revoke", id, "--yes").want(t, ExitDenied, nil, []string{"role admin is missing"})
	o.does(root, "keys", "revoke", id, "--yes").want(t, 0, []string{"revoked " + id + " (ann's laptop, for ann)\n"}, nil)
	o.does(plain, "whoami").want(t, ExitAuth, nil, []string{"hint: log in with"})
	o.does(root, "keys", "list").want(t, 0, []string{"revoked"}, nil)
	o.does(root, "keys", "revoke", "nix", "--yes").want(t, ExitError, nil, []string{"no such key"})

	var forever console.NewKey
	r := o.reads("", root, "keys", "create", "--name", "ci", "--subject", "ci", "--role", "viewer", "--expires", "never", "--yes", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &forever); err != nil || !forever.Expires.IsZero() || forever.Key == "" || forever.MadeBy != "root" {
		t.Errorf("exit code %d, %v", r.code, err)
	}
}

// dead puts dead letters into the records.
func (o *office) dead(ids ...string) {
	o.t.Helper()
	for _, id := range ids {
		n := wflo.Notice{ID: id, Channel: "slack://ops", Kind: wflo.NoticeAsked, Thread: id, Title: "refund order 17\x1b[2J", At: time.Now()}
		if err := o.records.Enqueue(o.t.Context(), n); err != nil {
			o.t.Fatal(err)
		}
		claimed, err := o.records.ClaimNotices(o.t.Context(), 1, time.Minute)
		if err != nil || len(claimed) != 1 {
			o.t.Fatal(claimed, err)
		}
		if err := o.records.NoticeFailed(o.t.Context(), id, "channel_not_found", time.Time{}); err != nil {
			o.t.Fatal(err)
		}
	}
}

func TestNotices(t *testing.T) {
	o := newOffice(t)
	root := o.key("root", nil, wflo.RoleAdmin)
	o.does(root, "notify", "list").want(t, 0, nil, []string{"no notices"})
	o.does(root, "notify", "retry", "--all", "--yes").want(t, 0, nil, []string{"there are no dead letters"})
	o.dead("n1", "n2", "n3")
	o.does(root, "notify", "list", "--state", "dead_letter").want(t, 0, []string{"n1", "slack://ops", "dead_letter", "channel_not_found", `refund order 17\x1b[2J`}, nil)
	o.does(root, "notify", "list", "--state", "pending").want(t, 0, nil, []string{"no notices"})
	o.does(root, "notify", "retry", "n2", "--yes").want(t, 0, []string{"notice n2 is due again\n"}, nil)
	o.does(root, "notify", "retry", "n2", "--yes").want(t, ExitError, nil, []string{"n2"})
	o.does(root, "notify", "retry", "--all", "--yes").want(t, 0, []string{"notice n1 is due again\n", "notice n3 is due again\n"}, nil)
	o.does(root, "notify", "list", "--state", "dead_letter", "-o", "json").want(t, 0, []string{"[]\n"}, nil)
	o.does(o.key("op", nil, wflo.RoleOperator), "notify", "retry", "n1", "--yes").want(t, ExitDenied, nil, []string{"role admin is missing"})
}

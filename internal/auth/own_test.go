package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

// canary is what must not be in a log.
const canary = "canary-credential-4711"

// brought is a way in that does as a test says.
type brought func() (wflo.Identity, error)

func (w brought) Authenticate(r *http.Request) (wflo.Identity, error) {
	if _, err := io.ReadAll(r.Body); err != nil {
		return wflo.Identity{}, err
	}
	r.Header.Del("Authorization")
	return w()
}
func (w brought) Login(context.Context, string, string) (wflo.Identity, error) { return w() }
func (w brought) Begin(_ http.ResponseWriter, _ *http.Request, _ string) error {
	_, err := w()
	return err
}
func (w brought) Finish(http.ResponseWriter, *http.Request) (wflo.Identity, string, error) {
	id, err := w()
	return id, "/inbox", err
}

var ann = wflo.Identity{Subject: "ann", Roles: []wflo.AccessRole{wflo.RoleViewer}}

func with(change func(*wflo.Identity)) brought {
	return func() (wflo.Identity, error) {
		id := ann
		change(&id)
		return id, nil
	}
}

// Whatever a way in that somebody else wrote does, nobody gets in by accident, on
// none of the three roads.
func TestOwnFailsClosed(t *testing.T) {
	var nothing *wflo.Identity
	tests := map[string]struct {
		way  brought
		want error
	}{
		"an error":               {func() (wflo.Identity, error) { return ann, errors.New("expired") }, ErrRefused},
		"refused":                {func() (wflo.Identity, error) { return ann, fmt.Errorf("token: %w", ErrRefused) }, ErrRefused},
		"refused in words":       {func() (wflo.Identity, error) { return ann, Refused("renew it") }, ErrRefused},
		"away":                   {func() (wflo.Identity, error) { return ann, fmt.Errorf("ask: %w", ErrUnavailable) }, ErrUnavailable},
		"too slow":               {func() (wflo.Identity, error) { return ann, fmt.Errorf("ask: %w", context.DeadlineExceeded) }, ErrUnavailable},
		"limited":                {func() (wflo.Identity, error) { return ann, &LimitedError{RetryAfter: time.Second} }, ErrLimited},
		"no role, by its error":  {func() (wflo.Identity, error) { return ann, fmt.Errorf("ann: %w", ErrNoRole) }, ErrNoRole},
		"panic":                  {func() (wflo.Identity, error) { panic(canary) }, ErrUnavailable},
		"panic with an error":    {func() (wflo.Identity, error) { panic(errors.New(canary)) }, ErrUnavailable},
		"nil pointer":            {func() (wflo.Identity, error) { return *nothing, nil }, ErrUnavailable},
		"nobody":                 {with(func(id *wflo.Identity) { id.Subject = "" }), ErrRefused},
		"a blank name":           {with(func(id *wflo.Identity) { id.Subject = " " }), ErrRefused},
		"a name with a blank":    {with(func(id *wflo.Identity) { id.Subject = "ann " }), ErrRefused},
		"a turned name":          {with(func(id *wflo.Identity) { id.Subject = "ann\u202e" }), ErrRefused},
		"a name that is a group": {with(func(id *wflo.Identity) { id.Subject = "group:ops" }), ErrRefused},
		"a group with a line":    {with(func(id *wflo.Identity) { id.Groups = []string{"ops\n"} }), ErrRefused},
		"an empty group":         {with(func(id *wflo.Identity) { id.Groups = []string{""} }), ErrRefused},
		"too many groups":        {with(func(id *wflo.Identity) { id.Groups = strings.Split(strings.Repeat("g ", maxGroups)+"g", " ") }), ErrRefused},
		"an unknown role":        {with(func(id *wflo.Identity) { id.Roles = append(id.Roles, "king") }), ErrRefused},
		"no role":                {with(func(id *wflo.Identity) { id.Roles = nil }), ErrNoRole},
		"a blank org":            {with(func(id *wflo.Identity) { id.Org = " " }), ErrRefused},
		"our method":             {with(func(id *wflo.Identity) { id.Method = "apikey" }), ErrRefused},
		"a key of ours":          {with(func(id *wflo.Identity) { id.Key = "0000" }), ErrRefused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			o := Own{Logger: slog.New(slog.NewTextHandler(&said, nil))}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			byHeader, err1 := o.Authenticator(tt.way).Authenticate(r)
			byPassword, err2 := o.Passwords(tt.way).Login(t.Context(), "ann", "right")
			byRedirect, back, err3 := o.Redirects(tt.way).Finish(httptest.NewRecorder(), r)
			for road, err := range map[string]error{"header": err1, "password": err2, "redirect": err3} {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: %v, want %v", road, err, tt.want)
				}
			}
			for _, id := range []wflo.Identity{byHeader, byPassword, byRedirect} {
				if diff := cmp.Diff(wflo.Identity{}, id); diff != "" || back != "" {
					t.Errorf("somebody, back to %q: %s", back, diff)
				}
			}
			if strings.Contains(said.String()+fmt.Sprint(err1, err2, err3), canary) {
				t.Errorf("the value of a panic is told: %s", said.String())
			}
		})
	}
}

// A redirect whose beginning fails sends nobody away.
func TestOwnBeginFailsClosed(t *testing.T) {
	o := Own{Logger: slog.New(slog.DiscardHandler)}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for want, broken := range map[error]brought{
		ErrUnavailable: func() (wflo.Identity, error) { panic(canary) },
		ErrRefused:     func() (wflo.Identity, error) { return ann, errors.New("no") },
	} {
		if err := o.Redirects(broken).Begin(httptest.NewRecorder(), r, "/"); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if err := o.Redirects(with(func(*wflo.Identity) {})).Begin(httptest.NewRecorder(), r, "/"); err != nil {
		t.Error(err)
	}
}

// What is in order is taken: the brought's own method, its groups and its tenant. It sees
// headers, and changes none for others; no credential of its kind is ErrNone.
func TestOwnIdentity(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	o := Own{Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler)}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("csrf=1"))
	r.Header.Set("Authorization", "Bearer x")
	mine := with(func(id *wflo.Identity) {
		id.Groups, id.Org, id.Method, id.Name = []string{"ops"}, "acme", "proxy", "Ann\u202e"
	})
	want := wflo.Identity{Subject: "ann", Name: "Ann", Groups: []string{"ops"}, Roles: ann.Roles, Org: "acme", Method: "proxy", At: now}
	got, err := o.Authenticator(mine).Authenticate(r)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "csrf=1" || r.Header.Get("Authorization") == "" {
		t.Errorf("the way in took the body or a header of the request: %q, %v", body, err)
	}
	if id, back, err := o.Redirects(with(func(*wflo.Identity) {})).Finish(httptest.NewRecorder(), r); err != nil || back != "/inbox" || id.Method != MethodOwn {
		t.Errorf("%+v, %q, %v", id, back, err)
	}
	for _, given := range [][2]string{{"", "right"}, {"ann", ""}} {
		if id, err := o.Passwords(mine).Login(t.Context(), given[0], given[1]); !errors.Is(err, ErrRefused) || id.Subject != "" {
			t.Errorf("%q: %+v, %v", given, id, err)
		}
	}
	if id, err := o.Authenticator(brought(func() (wflo.Identity, error) { return ann, fmt.Errorf("none: %w", ErrNone) })).Authenticate(r); !errors.Is(err, ErrNone) || id.Subject != "" {
		t.Errorf("%+v, %v; want no credential", id, err)
	}
}

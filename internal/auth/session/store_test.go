package session

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// What the tests above hold against a memory holds for a database, whose clock is
// its own.
func TestSessionsInADatabase(t *testing.T) {
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	b := newBench(t, false)
	b.now = time.Now()
	b.sessions.cfg.Store = ledger.Records()
	c, other := b.begin(), b.begin()
	b.now = b.now.Add(30 * time.Minute)
	for range 2 {
		if who, err := b.who(c); err != nil || who != "ann" {
			t.Fatalf("%q, %v", who, err)
		}
	}
	b.now = b.now.Add(59 * time.Minute)
	if who, err := b.who(c); err != nil || who != "ann" {
		t.Errorf("the end was not moved: %q, %v", who, err)
	}
	if who, err := b.who(other); !errors.Is(err, auth.ErrNone) {
		t.Errorf("the other browser was away for an hour: %q, %v", who, err)
	}
	form, err := b.sessions.Form(request("GET", c))
	if err != nil || len(form) != 43 {
		t.Errorf("%q, %v", form, err)
	}
	if err := b.sessions.EndAll(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if who, err := b.who(c); !errors.Is(err, auth.ErrNone) {
		t.Errorf("after the end of all: %q, %v", who, err)
	}
}

// A key and a session are asked for one after the other.
func TestKeysAndSessionsInADatabase(t *testing.T) {
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	keys, err := apikey.New(apikey.Config{Store: ledger.Records(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	plain, kept, err := keys.Make(t.Context(), apikey.Spec{Name: "deploys", Subject: "bot:ci", Roles: ann.Roles, MadeBy: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, false)
	b.now = time.Now()
	b.sessions.cfg.Store = ledger.Records()
	both := auth.Chain(keys, b.sessions)
	r := request("GET", b.begin())
	if id, err := both.Authenticate(r); err != nil || id.Subject != "ann" {
		t.Errorf("by the cookie: %+v, %v", id, err)
	}
	r.Header.Set("Authorization", "Bearer "+plain)
	if id, err := both.Authenticate(r); err != nil || id.Subject != "bot:ci" || id.Key != kept.ID {
		t.Errorf("by the key: %+v, %v", id, err)
	}
	if read, err := ledger.Records().Key(t.Context(), kept.ID); err != nil || read.UsedAt.IsZero() {
		t.Errorf("the use is not noted: %+v, %v", read, err)
	}
	if err := ledger.Records().RevokeKey(t.Context(), kept.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	if id, err := both.Authenticate(r); !errors.Is(err, auth.ErrRefused) || id.Subject != "" {
		t.Errorf("a revoked key beside a good cookie: %+v, %v", id, err)
	}
	if id, err := both.Authenticate(httptest.NewRequest("GET", "/", nil)); !errors.Is(err, auth.ErrNone) {
		t.Errorf("nothing: %+v, %v", id, err)
	}
}

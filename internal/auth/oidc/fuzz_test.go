package oidc

import (
	"testing"
	"time"
)

// A cookie of a login is one of ours, whole, or none.
func FuzzCookie(f *testing.F) {
	s, err := newSealer(make([]byte, keyBytes), "issuer client")
	if err != nil {
		f.Fatal(err)
	}
	other, err := newSealer(make([]byte, keyBytes), "issuer another-client")
	if err != nil {
		f.Fatal(err)
	}
	login := pending{State: "s", Nonce: "n", Verifier: "v", Back: "/inbox", Expires: time.Unix(1_800_000_000, 0).UTC()}
	good, err := s.seal(login)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, good[:len(good)-4], "A" + good, "", "eyJzIjoicyJ9", "====", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		got, err := s.open(cookie)
		if err == nil && got != login {
			t.Errorf("%q is %+v", cookie, got)
		}
		if err != nil && got != (pending{}) {
			t.Errorf("%q is refused and gives %+v", cookie, got)
		}
		if _, err := other.open(cookie); err == nil {
			t.Errorf("%q opens for another client", cookie)
		}
	})
}

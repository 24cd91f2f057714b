package oidc

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/internal/auth"
)

func TestClaims(t *testing.T) {
	for _, test := range []struct {
		name     string
		claims   Claims
		json     string
		want     auth.Person
		verified bool
	}{
		{"usual", Claims{}, `{"sub":"1","name":"Ann","email":"a@x","email_verified":true,"groups":["a","b"]}`,
			auth.Person{Subject: "1", Name: "Ann", Email: "a@x", Groups: []string{"a", "b"}}, true},
		{"address not verified", Claims{}, `{"sub":"1","email":"a@x"}`, auth.Person{Subject: "1"}, true},
		{"subject is an address not verified", Claims{Subject: "email"}, `{"sub":"1","email":"a@x","email_verified":false}`, auth.Person{Subject: "a@x"}, false},
		{"verified in words", Claims{Subject: "email"}, `{"email":"a@x","email_verified":"true"}`, auth.Person{Subject: "a@x", Email: "a@x"}, true},
		{"verified in wrong words", Claims{Subject: "email"}, `{"email":"a@x","email_verified":1}`, auth.Person{Subject: "a@x"}, false},
		{"address trusted", Claims{Subject: "email", TrustEmail: true}, `{"email":"a@x"}`, auth.Person{Subject: "a@x", Email: "a@x"}, true},
		{"address of another claim", Claims{Subject: "mail", Email: "mail"}, `{"mail":"a@x"}`, auth.Person{Subject: "a@x"}, false},
		{"nested", Claims{Groups: "resource_access.my.app.roles"}, `{"sub":"1","resource_access":{"my.app":{"roles":["x"]}}}`, auth.Person{Subject: "1", Groups: []string{"x"}}, true},
		{"a name with dots", Claims{Groups: "https://x.example/groups"}, `{"sub":"1","https://x.example/groups":"x"}`, auth.Person{Subject: "1", Groups: []string{"x"}}, true},
		{"other kinds", Claims{Groups: "g"}, `{"sub":1,"name":["x"],"g":{"a":1}}`, auth.Person{}, true},
		{"mixed list", Claims{Groups: "g"}, `{"sub":"1","g":["a",1,null,["b"]]}`, auth.Person{Subject: "1", Groups: []string{"a"}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var claims map[string]any
			if err := json.Unmarshal([]byte(test.json), &claims); err != nil {
				t.Fatal(err)
			}
			got, verified := test.claims.withDefaults().person(claims)
			if diff := cmp.Diff(test.want, got); diff != "" || verified != test.verified {
				t.Errorf("verified %v, want %v\n%s", verified, test.verified, diff)
			}
		})
	}
}

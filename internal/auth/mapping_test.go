package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

var roles = func(r ...wflo.AccessRole) []wflo.AccessRole { return r }

func TestMappingGivesIdentities(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	ann := Person{Subject: "Ann", Name: "Ann Arbor", Email: "ann@example.com", Groups: []string{"Finance", "ops"}}
	for _, test := range []struct {
		name    string
		mapping Mapping
		person  Person
		want    wflo.Identity
	}{
		{"default role, no groups", Mapping{DefaultRoles: roles("viewer")}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer")}},
		{"subject", Mapping{SubjectRoles: map[string][]wflo.AccessRole{"Ann": roles("admin")}, DefaultRoles: roles("viewer")}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("admin")}},
		{"roles add up, in their order", Mapping{
			SubjectRoles: map[string][]wflo.AccessRole{"Ann": roles("approver")},
			GroupRoles:   map[string][]wflo.AccessRole{"ops": roles("operator", "viewer"), "Finance": roles("viewer"), "x": roles("admin")},
		}, ann, wflo.Identity{Subject: "Ann", Roles: roles("viewer", "operator", "approver")}},
		{"groups by list, with a prefix", Mapping{DefaultRoles: roles("viewer"), Allow: []string{"ops"}, GroupPrefix: "okta/"}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer"), Groups: []string{"okta/ops"}}},
		{"all groups, one renamed", Mapping{DefaultRoles: roles("viewer"), Allow: []string{"*"}, Rename: map[string]string{"Finance": "money"}}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer"), Groups: []string{"money", "ops"}}},
		{"two groups become one", Mapping{DefaultRoles: roles("viewer"), Rename: map[string]string{"Finance": "money", "ops": "money"}}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer"), Groups: []string{"money"}}},
		{"case counts", Mapping{DefaultRoles: roles("viewer"), Allow: []string{"finance"}}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer")}},
		{"case does not count", Mapping{
			FoldCase: true, Allow: []string{"FINANCE"}, SubjectRoles: map[string][]wflo.AccessRole{"ANN": roles("approver")},
		}, ann, wflo.Identity{Subject: "ann", Roles: roles("approver"), Groups: []string{"finance"}}},
		{"prefix of subjects", Mapping{SubjectPrefix: "okta:", SubjectRoles: map[string][]wflo.AccessRole{"Ann": roles("viewer")}}, ann,
			wflo.Identity{Subject: "okta:Ann", Roles: roles("viewer")}},
		{"tenant by group", Mapping{DefaultRoles: roles("viewer"), GroupOrgs: map[string]string{"ops": "acme", "x": "other"}}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer"), Org: "acme"}},
		{"two groups of one tenant", Mapping{DefaultRoles: roles("viewer"), GroupOrgs: map[string]string{"ops": "acme", "Finance": "acme"}}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer"), Org: "acme"}},
		{"tenant of the others", Mapping{DefaultRoles: roles("viewer"), GroupOrgs: map[string]string{"x": "other"}, Org: "rest"}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer"), Org: "rest"}},
		{"all tenants", Mapping{DefaultRoles: roles("viewer"), GroupOrgs: map[string]string{"Finance": "acme"}, AllOrgs: []string{"ops"}, Org: "rest"}, ann,
			wflo.Identity{Subject: "Ann", Roles: roles("viewer")}},
		{"names that hide", Mapping{DefaultRoles: roles("viewer"), Allow: []string{"*"}},
			Person{Subject: "Ann", Name: "Ann\u202e\x00 Arbor", Groups: []string{"", "group:x", "a\nb", "good", " pad", "\u202egood"}},
			wflo.Identity{Subject: "Ann", Name: "Ann Arbor", Roles: roles("viewer"), Groups: []string{"good"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.mapping.Validate(); err != nil {
				t.Fatal(err)
			}
			got, err := test.mapping.Identity(test.person, "oidc", at)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Method, test.want.At, test.want.Email = "oidc", at, test.person.Email
			if test.want.Name == "" {
				test.want.Name = test.person.Name
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMappingRefuses(t *testing.T) {
	all := Mapping{DefaultRoles: roles("viewer")}
	for _, test := range []struct {
		name    string
		mapping Mapping
		person  Person
		err     error
	}{
		{"nothing is mapped", Mapping{}, Person{Subject: "ann", Groups: []string{"ops"}}, ErrNoRole},
		{"other groups", Mapping{GroupRoles: map[string][]wflo.AccessRole{"x": roles("viewer")}}, Person{Subject: "ann", Groups: []string{"ops"}}, ErrNoRole},
		{"a name here is no name there", Mapping{Rename: map[string]string{"ops": "admins"}, GroupRoles: map[string][]wflo.AccessRole{"admins": roles("admin")}},
			Person{Subject: "ann", Groups: []string{"ops"}}, ErrNoRole},
		{"no tenant", Mapping{DefaultRoles: roles("admin"), GroupOrgs: map[string]string{"x": "acme"}}, Person{Subject: "ann"}, ErrNoRole},
		{"not among those who see all tenants", Mapping{DefaultRoles: roles("admin"), AllOrgs: []string{"x"}}, Person{Subject: "ann"}, ErrNoRole},
		{"two tenants", Mapping{DefaultRoles: roles("viewer"), GroupOrgs: map[string]string{"a": "1", "b": "2"}}, Person{Subject: "ann", Groups: []string{"a", "b"}}, ErrNoRole},
		{"no name", all, Person{}, ErrRefused},
		{"a name like a group", all, Person{Subject: "group:ops"}, ErrRefused},
		{"a blank", all, Person{Subject: "ann "}, ErrRefused},
		{"NUL", all, Person{Subject: "ann\x00"}, ErrRefused},
		{"turned text", all, Person{Subject: "\u202enna"}, ErrRefused},
		{"not UTF-8", all, Person{Subject: "a\xff"}, ErrRefused},
		{"too long", all, Person{Subject: strings.Repeat("a", maxName+1)}, ErrRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, err := test.mapping.Identity(test.person, "ldap", time.Time{})
			if !errors.Is(err, test.err) || id.Subject != "" || len(id.Roles) > 0 {
				t.Errorf("got %+v, %v; want %v", id, err, test.err)
			}
			if wflo.HintOf(err) == "" {
				t.Errorf("%v has no hint", err)
			}
		})
	}
}

func TestMappingValidates(t *testing.T) {
	for name, m := range map[string]Mapping{
		"unknown default role":    {DefaultRoles: roles("root")},
		"unknown role of a group": {GroupRoles: map[string][]wflo.AccessRole{"a": roles("viewer", "")}},
		"unknown role of someone": {SubjectRoles: map[string][]wflo.AccessRole{"a": roles("Admin")}},
		"a new name of nothing":   {Rename: map[string]string{"a": ""}},
		"a new name like a group": {Rename: map[string]string{"a": "group:b"}},
		"an empty tenant":         {GroupOrgs: map[string]string{"a": ""}},
		"a reserved tenant":       {GroupOrgs: map[string]string{"a": "main"}},
		"a reserved default":      {Org: "main"},
		"two keys that are one":   {FoldCase: true, GroupOrgs: map[string]string{"A": "1", "a": "2"}},
	} {
		if err := m.Validate(); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

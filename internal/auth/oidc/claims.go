package oidc

import (
	"strings"

	"github.com/wflo-ai/wflo-go/internal/auth"
)

// Claims say where a provider puts what. A name with dots leads into objects, such
// as realm_access.roles; a claim of exactly that name comes first.
type Claims struct {
	// Subject names people here; empty means sub, which never changes and is never
	// given to somebody else. With email, only addresses that the provider
	// verified count. Beware of claims that people may change themselves, such as
	// preferred_username at some providers.
	Subject string
	Name    string // empty means name
	Email   string // empty means email
	Groups  string // empty means groups
	// TrustEmail takes addresses without email_verified, for providers all of whose
	// addresses are their own.
	TrustEmail bool
}

func (c Claims) withDefaults() Claims {
	for field, otherwise := range map[*string]string{&c.Subject: "sub", &c.Name: "name", &c.Email: "email", &c.Groups: "groups"} {
		if *field == "" {
			*field = otherwise
		}
	}
	return c
}

// person reads claims. verified is false when the subject is an address that the
// provider did not verify.
func (c Claims) person(claims map[string]any) (p auth.Person, verified bool) {
	checked := c.TrustEmail || isTrue(claims["email_verified"])
	p = auth.Person{Subject: text(find(claims, c.Subject)), Name: text(find(claims, c.Name)), Groups: list(find(claims, c.Groups))}
	if checked {
		p.Email = text(find(claims, c.Email))
	}
	return p, checked || c.Subject != c.Email && c.Subject != "email"
}

// isTrue takes the text too, which some providers send against the standard.
func isTrue(v any) bool { return v == true || v == "true" }

func find(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	for i, r := range name {
		if r != '.' {
			continue
		}
		if inner, ok := claims[name[:i]].(map[string]any); ok {
			if v := find(inner, name[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// list takes a list of texts, and a single one. Anything else is no group.
func list(v any) []string {
	switch v := v.(type) {
	case string:
		if strings.TrimSpace(v) != "" {
			return []string{v}
		}
	case []any:
		var all []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

package auth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of what a provider may say of somebody.
const (
	maxName   = 256  // bytes of a subject or the name of a group
	maxGroups = 1000 // directories repeat groups in every nested group
)

// Person is what a provider says of somebody, in its own words.
type Person struct {
	Subject, Name, Email string
	Groups               []string
}

// Mapping says what the words of a provider mean here. It is pure. The zero value
// gives nobody a role, so that nobody gets in.
type Mapping struct {
	// SubjectPrefix is put before subjects, so that ann of one provider is not ann
	// of another.
	SubjectPrefix string
	// Rename gives groups of the provider, the keys, the names that lists of
	// approvers have.
	Rename map[string]string
	// Allow lists groups of the provider that keep their name, with GroupPrefix
	// before it; "*" is all of them. Groups in neither are not taken over.
	Allow       []string
	GroupPrefix string
	// GroupRoles and SubjectRoles give roles by what the provider calls groups and
	// subjects, Rename and prefixes apart. All that fit add up.
	GroupRoles   map[string][]wflo.AccessRole
	SubjectRoles map[string][]wflo.AccessRole
	// DefaultRoles are for everybody whom the provider knows and who has no other.
	DefaultRoles []wflo.AccessRole
	// GroupOrgs puts members of a group of the provider into a tenant. Members of
	// two tenants are refused, and so are those of none, unless Org or AllOrgs has
	// them: an identity without a tenant sees all of them.
	GroupOrgs map[string]string
	// Org is the tenant of those whom GroupOrgs does not place.
	Org string
	// AllOrgs lists groups of the provider whose members see all tenants.
	AllOrgs []string
	// FoldCase is for providers to whom Ann and ann are one: subjects and groups
	// are in lower case here, and keys above are compared so.
	FoldCase bool
}

// Validate says what is wrong with the mapping, if anything.
func (m Mapping) Validate() error {
	roles := map[string][]wflo.AccessRole{"default_roles": m.DefaultRoles}
	for _, group := range slices.Sorted(maps.Keys(m.GroupRoles)) {
		roles["group_roles."+group] = m.GroupRoles[group]
	}
	for _, subject := range slices.Sorted(maps.Keys(m.SubjectRoles)) {
		roles["subject_roles."+subject] = m.SubjectRoles[subject]
	}
	for _, field := range slices.Sorted(maps.Keys(roles)) {
		for _, role := range roles[field] {
			if role.Validate() != nil {
				return wflo.Invalid(field, fmt.Sprintf("has the role %q", string(role)), "use viewer, operator, approver or admin")
			}
		}
	}
	for _, group := range slices.Sorted(maps.Keys(m.Rename)) {
		if problem := nameProblem(m.Rename[group]); problem != "" {
			return wflo.Invalid("rename."+group, problem, "give a plain name")
		}
	}
	for _, group := range slices.Sorted(maps.Keys(m.GroupOrgs)) {
		if m.GroupOrgs[group] == "" {
			return wflo.Invalid("group_orgs."+group, "is empty", "name a tenant, or list the group under all_orgs")
		}
	}
	for _, org := range append(slices.Sorted(maps.Values(m.GroupOrgs)), m.Org) {
		if Reserved(org) {
			return wflo.Invalid("org", "is "+org+", as the installation's own trail is called", "give the tenant another name")
		}
	}
	return m.validateFolds()
}

// validateFolds refuses keys that are one once case does not count: which of them
// is meant would be chance.
func (m Mapping) validateFolds() error {
	if !m.FoldCase {
		return nil
	}
	for field, keys := range map[string][]string{
		"rename": slices.Sorted(maps.Keys(m.Rename)), "group_roles": slices.Sorted(maps.Keys(m.GroupRoles)),
		"subject_roles": slices.Sorted(maps.Keys(m.SubjectRoles)), "group_orgs": slices.Sorted(maps.Keys(m.GroupOrgs)),
	} {
		seen := map[string]bool{}
		for _, key := range keys {
			if seen[strings.ToLower(key)] {
				return wflo.Invalid(field+"."+key, "is there twice, because case does not count", "write it once")
			}
			seen[strings.ToLower(key)] = true
		}
	}
	return nil
}

// Identity says who a person is here. Somebody without a role or a tenant is an
// *wflo.Error that matches ErrNoRole, and names that no list of approvers could
// hold are one that matches ErrRefused.
func (m Mapping) Identity(p Person, method string, at time.Time) (wflo.Identity, error) {
	subject := m.fold(p.Subject)
	if problem := nameProblem(subject); problem != "" {
		return wflo.Identity{}, &wflo.Error{Code: wflo.CodePolicyDenied, Message: "the account's name " + problem,
			Hint: "configure which claim or attribute names people here", Err: ErrRefused}
	}
	var groups []string
	for _, g := range p.Groups[:min(len(p.Groups), maxGroups)] {
		if nameProblem(g) == "" {
			groups = append(groups, m.fold(g))
		}
	}
	org, err := m.org(groups)
	if err != nil {
		return wflo.Identity{}, err
	}
	id := wflo.Identity{
		Subject: m.SubjectPrefix + subject, Name: display(p.Name), Email: display(p.Email),
		Groups: m.groups(groups), Roles: m.roles(subject, groups), Org: org, Method: method, At: at,
	}
	if len(id.Roles) == 0 {
		return wflo.Identity{}, noRole("the account "+id.Subject+" has no role", "ask an administrator to map one of your groups to a role")
	}
	return id, nil
}

func noRole(message, hint string) error {
	return &wflo.Error{Code: wflo.CodePolicyDenied, Message: message, Hint: hint, Err: ErrNoRole}
}

func (m Mapping) fold(s string) string {
	if m.FoldCase {
		return strings.ToLower(s)
	}
	return s
}

// same compares what the provider said, folded already, with a key.
func (m Mapping) same(said, key string) bool { return said == m.fold(key) }

func (m Mapping) groups(said []string) []string {
	var mine []string
	for _, g := range said {
		renamed := false
		for key, name := range m.Rename {
			if m.same(g, key) {
				mine, renamed = append(mine, name), true
			}
		}
		allowed := slices.ContainsFunc(m.Allow, func(key string) bool { return key == "*" || m.same(g, key) })
		if allowed && !renamed {
			mine = append(mine, m.GroupPrefix+g)
		}
	}
	slices.Sort(mine)
	return slices.Compact(mine)
}

// roles come in the order of wflo.AccessRoles.
func (m Mapping) roles(subject string, groups []string) []wflo.AccessRole {
	given := map[wflo.AccessRole]bool{}
	for key, roles := range m.SubjectRoles {
		if m.same(subject, key) {
			add(given, roles)
		}
	}
	for key, roles := range m.GroupRoles {
		if slices.ContainsFunc(groups, func(g string) bool { return m.same(g, key) }) {
			add(given, roles)
		}
	}
	if len(given) == 0 {
		add(given, m.DefaultRoles)
	}
	var mine []wflo.AccessRole
	for _, role := range wflo.AccessRoles() {
		if given[role] {
			mine = append(mine, role)
		}
	}
	return mine
}

func add(given map[wflo.AccessRole]bool, roles []wflo.AccessRole) {
	for _, role := range roles {
		given[role] = true
	}
}

func (m Mapping) org(groups []string) (string, error) {
	for _, g := range groups {
		if slices.ContainsFunc(m.AllOrgs, func(key string) bool { return m.same(g, key) }) {
			return "", nil
		}
	}
	var found []string
	for key, org := range m.GroupOrgs {
		if slices.ContainsFunc(groups, func(g string) bool { return m.same(g, key) }) && !slices.Contains(found, org) {
			found = append(found, org)
		}
	}
	switch {
	case len(found) > 1:
		return "", noRole("the account is in groups of several tenants", "ask an administrator to keep it in one")
	case len(found) == 1:
		return found[0], nil
	case m.Org == "" && (len(m.GroupOrgs) > 0 || len(m.AllOrgs) > 0):
		return "", noRole("the account is in no tenant", "ask an administrator to put it into a group of one")
	}
	return m.Org, nil
}

// nameProblem says why a name can be in no list of approvers.
func nameProblem(name string) string {
	switch _, group := wflo.GroupOf(name); {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return fmt.Sprintf("has %d bytes, more than %d", len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, wflo.Hidden) || strings.TrimSpace(name) != name:
		return "has characters that cannot be seen"
	case group:
		return "begins like a group"
	}
	return ""
}

// display keeps what is shown, and nothing that hides.
func display(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if wflo.Hidden(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s))
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return s
}

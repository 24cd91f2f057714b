package config

import (
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/auth/ldap"
	"github.com/wflo-ai/wflo-go/internal/auth/oidc"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
)

// Console is the program on whose pages and through whose API people decide.
type Console struct {
	// URL is its address as browsers have it, without a slash at the end. Links in
	// notices begin with it, and providers send browsers back to it.
	URL string
	// Listen is HOST:PORT.
	Listen string
	// TLSCert and TLSKey are files in PEM; empty means plain HTTP.
	TLSCert, TLSKey string
	// Key is the file of the Ed25519 key that signs decisions.
	Key string
	// NoAPIKeys says that API keys open nothing.
	NoAPIKeys bool
	// Lifetime and Idle bound sessions; zero means 12 hours and one.
	Lifetime, Idle time.Duration
	// Rate is how many requests a second an address may send; zero means 100.
	Rate int
	OIDC []OIDC
	LDAP *LDAP
	// Slack takes clicks on the buttons of messages; nil means none.
	Slack *Clicks
	// TemporalUI and Traces are where a run's page leads: addresses with {namespace},
	// {workflow_id}, {run_id} and {trace_id} in the places of a run's own.
	TemporalUI, Traces string
}

// OIDC is a provider that people log in at. Config is without its secrets.
type OIDC struct {
	// Name is how the login page calls it.
	Name   string
	Config oidc.Config
	// Secret is the client's; unset for a public client. Seal are 32 bytes in base64
	// that all consoles behind one address share; unset for one console.
	Secret, Seal Secret
	// Audiences are the clients whose ID tokens programs may present; none means that
	// they may not.
	Audiences []string
}

// LDAP is a directory. Config is without the password.
type LDAP struct {
	Config   ldap.Config
	Password Secret
	// CA is a file with the roots that verify the directory; empty means the system's.
	CA string
}

// Clicks says whose clicks in Slack count, and as whom.
type Clicks struct {
	// Secret is the app's signing secret.
	Secret Secret
	// People are by "TEAM/USER", both IDs of Slack.
	People map[string]wflo.Identity
	// API and Outbound are those of a Slack channel, for answers.
	API      string
	Outbound outbound.Config
}

// Open reads the secrets and makes the login.
func (o OIDC) Open(logger *slog.Logger) (*oidc.Login, error) {
	own, err := o.Config, error(nil)
	own.Logger = logger
	if o.Secret.Set() {
		if own.ClientSecret, err = o.Secret.Read("client_secret of " + o.Name); err != nil {
			return nil, err
		}
	}
	if o.Seal.Set() {
		text, err := o.Seal.Read("seal of " + o.Name)
		if err != nil {
			return nil, err
		}
		if own.Key, err = base64Of(text); err != nil {
			return nil, wflo.Invalid("seal of "+o.Name, "is not base64", "give 32 random bytes in base64")
		}
	}
	return oidc.New(own)
}

// Open reads the password and the roots, and makes the directory.
func (l LDAP) Open(logger *slog.Logger) (*ldap.Directory, error) {
	own, err := l.Config, error(nil)
	own.Logger = logger
	if l.Password.Set() {
		if own.BindPassword, err = l.Password.Read("bind_password of ldap"); err != nil {
			return nil, err
		}
	}
	if own.TLS, err = roots(l.CA); err != nil {
		return nil, err
	}
	return ldap.New(own)
}

func (r *reader) console(n ast.Node, c *Console) error {
	keys, providers := true, ast.Node(nil)
	set, err := r.mapping(n, "the console",
		r.textField("url", &c.URL), r.textField("listen", &c.Listen), r.textField("key", &c.Key), r.boolField("api_keys", &keys), r.intField("rate", &c.Rate),
		field{"tls", func(n ast.Node) error {
			_, err := r.mapping(n, "tls", r.textField("cert", &c.TLSCert), r.textField("key", &c.TLSKey))
			if err == nil && (c.TLSCert == "" || c.TLSKey == "") {
				err = r.fail(n, "name the files of the certificate and of its key", "tls needs both cert and key")
			}
			return err
		}},
		field{"sessions", func(n ast.Node) error {
			_, err := r.mapping(n, "sessions", r.durationField("lifetime", &c.Lifetime), r.durationField("idle", &c.Idle))
			return err
		}},
		field{"links", func(n ast.Node) error { return r.links(n, c) }},
		field{"oidc", func(n ast.Node) error { providers = n; return nil }}, // it needs the address, which may stand below it
		field{"ldap", func(n ast.Node) (err error) { c.LDAP, err = r.ldap(n); return err }},
		field{"slack", func(n ast.Node) (err error) { c.Slack, err = r.clicks(n); return err }},
	)
	if err != nil {
		return err
	}
	c.NoAPIKeys = !keys
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "") {
		return r.fail(set["url"], "write https://HOST, as browsers have it", "url is not the address of a console")
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
	if c.Rate < 0 {
		return r.fail(set["rate"], "give requests a second, or leave it out for 100", "rate is %d", c.Rate)
	}
	if providers == nil {
		return nil
	}
	if c.URL == "" {
		return r.fail(providers, "set the url of the console, to which the provider sends browsers back", "oidc needs the console's url")
	}
	return r.providers(providers, c)
}

// links reads where pages lead that are not the console's.
func (r *reader) links(n ast.Node, c *Console) error {
	set, err := r.mapping(n, "links", r.textField("temporal", &c.TemporalUI), r.textField("trace", &c.Traces))
	for name, link := range map[string]string{"temporal": c.TemporalUI, "trace": c.Traces} {
		u, bad := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(link))
		if err == nil && link != "" && (bad != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil) {
			err = r.fail(set[name], "write https://HOST/PATH with {workflow_id}, {run_id}, {namespace} or {trace_id} in it", "%s is not an address", name)
		}
	}
	return err
}

// slug is what a provider's name may be: it is part of an address.
var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,38}$`)

func (r *reader) providers(n ast.Node, c *Console) error {
	return r.list(n, "oidc", func(n ast.Node) error {
		o, err := r.oidc(n, c.URL)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(c.OIDC, func(before OIDC) bool { return before.Name == o.Name }) {
			return r.fail(n, "give each a name of its own", "provider %s is declared again", short(o.Name))
		}
		c.OIDC = append(c.OIDC, o)
		return nil
	})
}

func (r *reader) oidc(n ast.Node, console string) (OIDC, error) {
	var o OIDC
	cfg := &o.Config
	set, err := r.mapping(n, "a provider",
		r.textField("name", &o.Name), r.textField("issuer", &cfg.Issuer), r.textField("client_id", &cfg.ClientID),
		r.secretField("client_secret", &o.Secret), r.secretField("seal", &o.Seal), r.textsField("scopes", &cfg.Scopes),
		r.textsField("algorithms", &cfg.Algorithms), r.durationField("skew", &cfg.Skew), r.boolField("userinfo", &cfg.UserInfo),
		r.textsField("audiences", &o.Audiences),
		field{"claims", func(n ast.Node) error {
			l := &cfg.Claims
			_, err := r.mapping(n, "claims", r.textField("subject", &l.Subject), r.textField("name", &l.Name), r.textField("email", &l.Email),
				r.textField("groups", &l.Groups), r.boolField("trust_email", &l.TrustEmail))
			return err
		}},
		field{"mapping", func(n ast.Node) (err error) { cfg.Mapping, err = r.authMapping(n); return err }},
	)
	switch {
	case err != nil:
		return o, err
	case !slug.MatchString(o.Name):
		return o, r.fail(n, "name it with small letters, digits and dashes, such as company", "the provider has no name that fits into an address")
	}
	cfg.RedirectURL = console + "/login/via/" + o.Name + "/callback"
	sample := *cfg
	login, err := oidc.New(sample)
	if err == nil && len(o.Audiences) > 0 {
		_, err = login.Bearer(o.Audiences...)
	}
	return o, r.refused(n, set, "oidc: ", err)
}

func (r *reader) ldap(n ast.Node) (*LDAP, error) {
	var l LDAP
	cfg := &l.Config
	set, err := r.mapping(n, "ldap",
		r.textField("url", &cfg.URL), r.boolField("start_tls", &cfg.StartTLS), r.boolField("allow_plain", &cfg.AllowPlain), r.textField("ca", &l.CA),
		r.textField("bind_dn", &cfg.BindDN), r.secretField("bind_password", &l.Password), r.textField("base_dn", &cfg.BaseDN),
		r.textField("user_filter", &cfg.UserFilter), r.textField("subject", &cfg.Subject), r.textField("name", &cfg.Name), r.textField("email", &cfg.Email),
		r.textField("dummy_dn", &cfg.DummyDN), r.durationField("timeout", &cfg.Timeout), r.intField("conns", &cfg.Conns),
		field{"groups", func(n ast.Node) error {
			g := &cfg.Groups
			_, err := r.mapping(n, "groups of ldap", r.textField("base_dn", &g.BaseDN), r.textField("filter", &g.Filter),
				r.textField("member_of", &g.MemberOf), r.textField("name", &g.Name), r.intField("depth", &g.Depth))
			return err
		}},
		field{"mapping", func(n ast.Node) (err error) { cfg.Mapping, err = r.authMapping(n); return err }},
	)
	if err != nil {
		return nil, err
	}
	sample := *cfg
	if l.Password.Set() {
		sample.BindPassword = samples["password"]
	}
	_, err = ldap.New(sample)
	return &l, r.refused(n, set, "ldap: ", err)
}

func (r *reader) authMapping(n ast.Node) (auth.Mapping, error) {
	var m auth.Mapping
	set, err := r.mapping(n, "mapping",
		r.textField("subject_prefix", &m.SubjectPrefix), r.textField("group_prefix", &m.GroupPrefix), r.textsField("allow", &m.Allow),
		r.textField("org", &m.Org), r.textsField("all_orgs", &m.AllOrgs), r.boolField("fold_case", &m.FoldCase),
		field{"rename", func(n ast.Node) (err error) { m.Rename, err = r.words(n, "rename", "a group"); return err }},
		field{"group_orgs", func(n ast.Node) (err error) { m.GroupOrgs, err = r.words(n, "group_orgs", "an org"); return err }},
		field{"group_roles", func(n ast.Node) (err error) { m.GroupRoles, err = r.rolesBy(n, "group_roles"); return err }},
		field{"subject_roles", func(n ast.Node) (err error) { m.SubjectRoles, err = r.rolesBy(n, "subject_roles"); return err }},
		field{"default_roles", func(n ast.Node) (err error) { m.DefaultRoles, err = r.roles(n, "default_roles"); return err }},
	)
	if err != nil {
		return m, err
	}
	return m, r.refused(n, set, "", m.Validate())
}

func (r *reader) rolesBy(n ast.Node, what string) (map[string][]wflo.AccessRole, error) {
	values, err := r.pairs(n, what)
	all := make(map[string][]wflo.AccessRole, len(values))
	for _, v := range values {
		if err == nil {
			all[v.Key.GetToken().Value], err = r.roles(v.Value, "the roles of one")
		}
	}
	return all, err
}

func (r *reader) roles(n ast.Node, what string) (all []wflo.AccessRole, err error) {
	err = r.list(n, what, func(n ast.Node) error {
		s, err := r.text(n, "a role")
		role := wflo.AccessRole(s)
		if err == nil && role.Validate() != nil {
			err = r.fail(n, "use viewer, operator, approver or admin", "a role is %q", short(s))
		}
		all = append(all, role)
		return err
	})
	return all, err
}

// clickers are IDs of Slack: T0123ABCD/U0123ABCD, or without the team.
var clickers = regexp.MustCompile(`^([A-Z0-9]{2,64}/)?[UW][A-Z0-9]{1,63}$`)

func (r *reader) clicks(n ast.Node) (*Clicks, error) {
	c := Clicks{People: map[string]wflo.Identity{}}
	var team string
	set, err := r.mapping(n, "slack", r.secretField("signing_secret", &c.Secret), r.textField("team", &team),
		r.textField("api", &c.API), r.boolField("allow_http", &c.Outbound.AllowHTTP),
		field{"allow_networks", func(n ast.Node) (err error) { c.Outbound.Allow, err = r.networks(n); return err }},
		field{"users", func(n ast.Node) error { return r.people(n, c.People) }})
	switch {
	case err != nil:
		return nil, err
	case !c.Secret.Set():
		return nil, r.fail(n, "say where the app's signing secret is", "slack has no signing_secret")
	case c.API != "":
		if err := r.refused(n, set, "", c.Outbound.CheckURL("api", c.API)); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.People)) {
		if strings.Contains(id, "/") {
			continue
		}
		if team == "" {
			return nil, r.fail(set["users"], "set team, or write TEAM/USER: a user's ID means something only in its team", "user %s has no team", id)
		}
		c.People[team+"/"+id] = c.People[id]
		delete(c.People, id)
	}
	return &c, nil
}

func (r *reader) people(n ast.Node, people map[string]wflo.Identity) error {
	values, err := r.pairs(n, "users")
	if err != nil {
		return err
	}
	for _, v := range values {
		id := v.Key.GetToken().Value
		if !clickers.MatchString(id) {
			return r.fail(v.Key, "copy the ID from the person's profile in Slack, such as U0123ABCD", "a user is no ID of Slack")
		}
		var p wflo.Identity
		_, err := r.mapping(v.Value, "a user of slack", r.textField("subject", &p.Subject), r.textField("name", &p.Name),
			r.textsField("groups", &p.Groups), r.textField("org", &p.Org),
			field{"roles", func(n ast.Node) (err error) { p.Roles, err = r.roles(n, "roles"); return err }})
		if err == nil && (p.Subject == "" || len(p.Roles) == 0) {
			err = r.fail(v.Value, "set subject and roles, such as [approver]", "the user lacks one of them")
		}
		if err != nil {
			return err
		}
		people[id] = p
	}
	return nil
}

// Package ldap proves who somebody is by a directory. [New] makes a [Directory], an
// auth.Passwords: it finds the one entry of a name, and binds as that entry with
// the password.
//
// It refuses empty passwords before any server sees them, because a bind without
// one succeeds as nobody; names that fit no or several entries; servers that are
// reached without TLS, unless that is allowed; and it follows no referral. A wrong
// password and an unknown name give the same error after the same requests.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// Method is what identities say of how they were proved.
const Method = "ldap"

const (
	maxLogin    = 256  // bytes of a name
	maxPassword = 1024 // bytes
	hint        = "check name and password"
	// nobody is bound to where a name fits no entry, so that the directory is asked
	// as often as for a wrong password.
	nobody = "cn=nobody-by-this-name"
)

// Config says which directory, and what its words mean. URL, BaseDN, UserFilter
// and Mapping are required.
type Config struct {
	// URL is ldaps://HOST, ldap://HOST with StartTLS, or ldapi:///PATH.
	URL string
	// StartTLS turns an ldap connection into one with TLS before anything is sent.
	StartTLS bool
	// AllowPlain sends passwords without TLS to hosts that are not this one.
	AllowPlain bool
	// TLS has the roots to trust; nil means those of the system.
	TLS *tls.Config
	// BindDN and BindPassword search for entries; empty means anonymously.
	BindDN, BindPassword string
	// BaseDN is under which people are.
	BaseDN string
	// UserFilter finds a person; {name} is what was typed, escaped. For instance
	// (&(objectClass=person)(uid={name})).
	UserFilter string
	// Subject, Name and Email are attributes; empty means uid, cn and mail. The
	// subject is what the directory holds, not what was typed.
	Subject, Name, Email string
	// Groups says where groups are.
	Groups Groups
	// DummyDN is an entry that nobody uses. A name that fits nobody is checked
	// against it, so that directories which hash slowly do so for it as well. Empty
	// means an entry that is not there.
	DummyDN string
	// Timeout bounds a login; zero means 10 seconds.
	Timeout time.Duration
	// Conns bounds logins at the same time; zero means 8.
	Conns int
	// Mapping gives groups, roles and the tenant.
	Mapping auth.Mapping
	// Logger gets why a login was refused; nil means slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Groups says where groups are. The zero value means that there are none. Only
// entries under BaseDN count, so that nobody makes a group of a wanted name
// elsewhere in the directory.
type Groups struct {
	BaseDN string
	// Filter finds the groups of an entry; {dn} is its name, escaped. For instance
	// (&(objectClass=groupOfNames)(member={dn})). Empty means MemberOf.
	Filter string
	// MemberOf is the attribute of a person that lists groups; empty means memberOf.
	// It is not used with a Filter.
	MemberOf string
	// Name is the attribute that names a group; empty means cn.
	Name string
	// Depth is how many groups around groups are searched with Filter; zero means
	// only those of the person.
	Depth int
}

func (c Config) withDefaults() Config {
	for field, otherwise := range map[*string]string{
		&c.Subject: "uid", &c.Name: "cn", &c.Email: "mail", &c.Groups.MemberOf: "memberOf", &c.Groups.Name: "cn",
	} {
		if *field == "" {
			*field = otherwise
		}
	}
	if c.DummyDN == "" {
		c.DummyDN = nobody + "," + c.BaseDN
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Conns == 0 {
		c.Conns = 8
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.User != nil {
		return wflo.Invalid("ldap: url", "is no plain address", "use ldaps://HOST")
	}
	switch {
	case u.Scheme == "ldaps" && u.Host != "" && !c.StartTLS, u.Scheme == "ldapi":
	case u.Scheme == "ldap" && u.Host != "" && (c.StartTLS || c.AllowPlain || loopback(u.Hostname())):
	case u.Scheme == "ldap" && u.Host != "":
		return wflo.Invalid("ldap: url", "is reached without TLS", "use ldaps, or set start_tls")
	default:
		return wflo.Invalid("ldap: url", "is no address of a directory", "use ldaps://HOST, ldap://HOST with start_tls, or ldapi:///PATH")
	}
	if c.TLS != nil && c.TLS.InsecureSkipVerify {
		return wflo.Invalid("ldap: tls", "verifies nothing", "give the root certificate of the directory")
	}
	if (c.BindDN == "") != (c.BindPassword == "") {
		return wflo.Invalid("ldap: bind_dn", "or its password is empty", "give both, or none to search anonymously")
	}
	if c.Timeout < 0 || c.Conns < 0 || c.Groups.Depth < 0 || c.Groups.Depth > maxDepth {
		return wflo.Invalid("ldap: timeout, connections or depth", "is negative, or the depth more than 10", "leave them out")
	}
	return c.validateSearch()
}

func (c Config) validateSearch() error {
	for field, dn := range map[string]string{"base_dn": c.BaseDN, "dummy_dn": c.DummyDN} {
		if _, err := goldap.ParseDN(dn); err != nil || dn == "" {
			return wflo.Invalid("ldap: "+field, "is no name of an entry", "use one such as ou=people,dc=example,dc=com")
		}
	}
	if err := checkFilter("user_filter", c.UserFilter, "{name}"); err != nil {
		return err
	}
	if c.Groups.BaseDN != "" {
		if _, err := goldap.ParseDN(c.Groups.BaseDN); err != nil {
			return wflo.Invalid("ldap: groups.base_dn", "is no name of an entry", "use one such as ou=groups,dc=example,dc=com")
		}
	}
	if c.Groups.Filter != "" {
		if c.Groups.BaseDN == "" {
			return wflo.Invalid("ldap: groups.base_dn", "is empty", "say under which entry groups are")
		}
		if err := checkFilter("groups.filter", c.Groups.Filter, "{dn}"); err != nil {
			return err
		}
	}
	return c.Mapping.Validate()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkFilter refuses a filter that everybody would fit, or that is none.
func checkFilter(field, filter, placeholder string) error {
	if !strings.Contains(filter, placeholder) {
		return wflo.Invalid("ldap: "+field, "does not have "+placeholder, "say where it goes, as in (uid={name}) or (member={dn})")
	}
	if _, err := goldap.CompileFilter(fill(filter, placeholder, "x")); err != nil {
		return wflo.Invalid("ldap: "+field, "is no filter", "write it as RFC 4515 says, such as (&(objectClass=person)(uid={name}))")
	}
	return nil
}

// fill puts a value into a filter, by RFC 4515 escaped, so that it is never more
// than a value.
func fill(filter, placeholder, value string) string {
	return strings.ReplaceAll(filter, placeholder, escape(value))
}

// escape goes further than it has to: what is no letter or digit is written as its
// code, whatever a server thinks of it.
func escape(value string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(value) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('\\')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

// typed says why no directory needs to be asked about a name and a password.
func typed(name, password string) error {
	switch {
	case name == "" || len(name) > maxLogin || !utf8.ValidString(name) || strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("the name is no name")
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPassword || strings.ContainsRune(password, 0) || !utf8.ValidString(password):
		return errors.New("the password is too long, or not text")
	}
	return nil
}

// Directory proves who somebody is. Its methods may be called at the same time; each
// login has a connection of its own, because a bind changes who a connection is.
type Directory struct {
	cfg   Config
	slots chan struct{}
	dial  func(ctx context.Context) (conn, error)
}

var _ auth.Passwords = (*Directory)(nil)

// New makes a Directory. It connects at each login, and not before.
func New(cfg Config) (*Directory, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Directory{cfg: cfg, slots: make(chan struct{}, cfg.Conns)}
	d.dial = d.connect
	return d, nil
}

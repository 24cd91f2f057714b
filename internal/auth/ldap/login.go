package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

const (
	maxDepth  = 10
	maxGroups = 1000
)

// errRefused is the way out for every login that is not good; its text is for the
// log.
type errRefused string

func (e errRefused) Error() string { return string(e) }

// conn is what a login needs of a connection; *goldap.Conn is one.
type conn interface {
	Bind(name, password string) error
	Search(*goldap.SearchRequest) (*goldap.SearchResult, error)
	Close() error
}

// Login implements auth.Passwords.
func (d *Directory) Login(ctx context.Context, name, password string) (wflo.Identity, error) {
	person, err := d.person(ctx, name, password)
	var refused errRefused
	switch {
	case errors.As(err, &refused):
		// A name may be a password that was typed into the wrong field.
		d.cfg.Logger.WarnContext(ctx, "LDAP login refused", "reason", refused.Error())
		return wflo.Identity{}, auth.Refused(hint)
	case err != nil:
		d.cfg.Logger.ErrorContext(ctx, "LDAP directory cannot be asked", "url", d.cfg.URL, "error", err.Error())
		return wflo.Identity{}, auth.Unavailable("directory")
	}
	id, err := d.cfg.Mapping.Identity(person, Method, d.cfg.Now())
	if err != nil {
		d.cfg.Logger.WarnContext(ctx, "LDAP login refused", "subject", person.Subject, "reason", err.Error())
	}
	return id, err
}

func (d *Directory) person(ctx context.Context, name, password string) (auth.Person, error) {
	if err := typed(name, password); err != nil {
		return auth.Person{}, errRefused(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return auth.Person{}, errors.New("all connections are in use")
	}
	c, err := d.dial(ctx)
	if err != nil {
		return auth.Person{}, err
	}
	defer c.Close()
	// The library's requests know no context.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	entry, err := d.prove(c, name, password)
	if err != nil {
		return auth.Person{}, err
	}
	return d.read(c, entry)
}

// prove finds the entry of a name and binds as it. A name that fits nobody takes
// the same steps.
func (d *Directory) prove(c conn, name, password string) (*goldap.Entry, error) {
	if err := d.bindService(c); err != nil {
		return nil, err
	}
	found, err := c.Search(d.search(d.cfg.BaseDN, fill(d.cfg.UserFilter, "{name}", name), 2, d.attributes()))
	if err != nil && !goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) && !goldap.IsErrorWithCode(err, goldap.LDAPResultNoSuchObject) {
		return nil, err
	}
	var entry *goldap.Entry
	count := 0
	if found != nil {
		count = len(found.Entries)
	}
	dn := d.cfg.DummyDN
	if count == 1 && err == nil && found.Entries[0].DN != "" {
		entry = found.Entries[0]
		dn = entry.DN
	}
	bound := c.Bind(dn, password)
	switch {
	case bound != nil && !refusal(bound):
		return nil, bound
	case entry == nil && count > 1:
		return nil, errRefused("several entries fit the name")
	case entry == nil:
		return nil, errRefused("no entry fits the name")
	case bound != nil:
		return nil, errRefused("the directory does not take the password")
	}
	return entry, nil
}

// refusal is true for answers that are about the password or the account.
func refusal(err error) bool {
	return goldap.IsErrorAnyOf(err, goldap.LDAPResultInvalidCredentials, goldap.LDAPResultNoSuchObject, goldap.LDAPResultInappropriateAuthentication,
		goldap.LDAPResultUnwillingToPerform, goldap.LDAPResultConstraintViolation, goldap.LDAPResultInsufficientAccessRights,
		goldap.LDAPResultInvalidDNSyntax, goldap.LDAPResultReferral)
}

func (d *Directory) bindService(c conn) error {
	if d.cfg.BindDN == "" {
		return nil
	}
	if err := c.Bind(d.cfg.BindDN, d.cfg.BindPassword); err != nil {
		return fmt.Errorf("bind to search: %w", err)
	}
	return nil
}

// search never dereferences aliases, which could lead out of the base.
func (d *Directory) search(base, filter string, size int, attributes []string) *goldap.SearchRequest {
	seconds := int((d.cfg.Timeout + time.Second - 1) / time.Second)
	return goldap.NewSearchRequest(base, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, size, seconds, false, filter, attributes, nil)
}

func (d *Directory) attributes() []string {
	a := []string{d.cfg.Subject, d.cfg.Name, d.cfg.Email}
	if d.cfg.Groups.BaseDN != "" && d.cfg.Groups.Filter == "" {
		a = append(a, d.cfg.Groups.MemberOf)
	}
	return a
}

// read takes from the entry what the mapping needs.
func (d *Directory) read(c conn, entry *goldap.Entry) (auth.Person, error) {
	subjects := entry.GetEqualFoldAttributeValues(d.cfg.Subject)
	if len(subjects) != 1 {
		return auth.Person{}, errRefused("the entry has not one " + d.cfg.Subject)
	}
	p := auth.Person{
		Subject: subjects[0], Name: entry.GetEqualFoldAttributeValue(d.cfg.Name), Email: entry.GetEqualFoldAttributeValue(d.cfg.Email),
	}
	var err error
	switch {
	case d.cfg.Groups.BaseDN == "":
	case d.cfg.Groups.Filter == "":
		p.Groups = d.memberOf(entry)
	default:
		p.Groups, err = d.searchGroups(c, entry.DN)
	}
	return p, err
}

// memberOf names the groups that the entry lists, those under the base only.
func (d *Directory) memberOf(entry *goldap.Entry) []string {
	var names []string
	for _, dn := range entry.GetEqualFoldAttributeValues(d.cfg.Groups.MemberOf) {
		if name, ok := d.groupName(dn); ok {
			names = append(names, name)
		}
	}
	return names
}

func (d *Directory) groupName(text string) (string, bool) {
	dn, err := goldap.ParseDN(text)
	if err != nil || len(dn.RDNs) == 0 || len(dn.RDNs[0].Attributes) != 1 {
		return "", false
	}
	base, err := goldap.ParseDN(d.cfg.Groups.BaseDN)
	if err != nil || !base.AncestorOfFold(dn) {
		return "", false
	}
	first := dn.RDNs[0].Attributes[0]
	return first.Value, strings.EqualFold(first.Type, d.cfg.Groups.Name)
}

// searchGroups asks for the groups of an entry, and for those around them. It asks
// as the service again: people often may not read groups.
func (d *Directory) searchGroups(c conn, dn string) ([]string, error) {
	if err := d.bindService(c); err != nil {
		return nil, err
	}
	var names []string
	seen := map[string]bool{}
	members := []string{dn}
	for range d.cfg.Groups.Depth + 1 {
		var around []string
		for _, member := range members {
			found, err := c.Search(d.search(d.cfg.Groups.BaseDN, fill(d.cfg.Groups.Filter, "{dn}", member), maxGroups, []string{d.cfg.Groups.Name}))
			if err != nil {
				return nil, err
			}
			for _, g := range found.Entries {
				if key := strings.ToLower(g.DN); !seen[key] && len(seen) < maxGroups {
					seen[key] = true
					around = append(around, g.DN)
					names = append(names, g.GetEqualFoldAttributeValues(d.cfg.Groups.Name)...)
				}
			}
		}
		members = around
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// connect opens a connection, with TLS before anything else where that is asked.
func (d *Directory) connect(ctx context.Context) (conn, error) {
	u, err := url.Parse(d.cfg.URL)
	if err != nil {
		return nil, errors.New("the address is none")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.cfg.TLS != nil {
		config = d.cfg.TLS.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	dialer := &net.Dialer{Timeout: d.cfg.Timeout}
	if deadline, ok := ctx.Deadline(); ok {
		dialer.Deadline = deadline
	}
	c, err := goldap.DialURL(d.cfg.URL, goldap.DialWithTLSConfig(config), goldap.DialWithDialer(dialer))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(d.cfg.Timeout)
	if !d.cfg.StartTLS {
		return c, nil
	}
	if err := c.StartTLS(config); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

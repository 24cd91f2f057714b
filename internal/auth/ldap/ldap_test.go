package ldap

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

func good(log io.Writer) Config {
	return Config{
		URL: server.tls, TLS: &tls.Config{RootCAs: server.roots}, BindDN: reader, BindPassword: readerWord,
		BaseDN: "ou=people," + base, UserFilter: "(&(objectClass=inetOrgPerson)(uid={name}))",
		Groups:  Groups{BaseDN: "ou=groups," + base},
		Mapping: auth.Mapping{DefaultRoles: []wflo.AccessRole{wflo.RoleViewer}, Allow: []string{"*"}},
		Logger:  slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:     func() time.Time { return time.Unix(1_800_000_000, 0) },
	}
}

// counted writes down the requests of a connection, without what they carry.
type counted struct {
	conn
	asked *[]string
}

func (c counted) Bind(name, password string) error {
	*c.asked = append(*c.asked, "bind")
	return c.conn.Bind(name, password)
}

func (c counted) Search(r *goldap.SearchRequest) (*goldap.SearchResult, error) {
	*c.asked = append(*c.asked, "search")
	return c.conn.Search(r)
}

// open makes a Directory whose requests are counted.
func open(t *testing.T, change func(*Config)) (d *Directory, log *bytes.Buffer, asked *[]string) {
	t.Helper()
	log, asked = &bytes.Buffer{}, &[]string{}
	cfg := good(log)
	if change != nil {
		change(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.dial = func(ctx context.Context) (conn, error) {
		*asked = append(*asked, "dial")
		c, err := d.connect(ctx)
		return counted{c, asked}, err
	}
	return d, log, asked
}

func TestLoginByARealDirectory(t *testing.T) {
	nested := Groups{BaseDN: "ou=groups," + base, Filter: "(&(objectClass=groupOfNames)(member={dn}))"}
	deep := func(n int) func(*Config) {
		return func(c *Config) { c.Groups = nested; c.Groups.Depth = n }
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		login  string
		groups []string
	}{
		{"over TLS, groups of memberOf", nil, "ann", []string{"finance"}},
		{"over StartTLS", func(c *Config) { c.URL, c.StartTLS = server.plain, true }, "ann", []string{"finance"}},
		{"plain, on this host", func(c *Config) { c.URL = server.plain }, "ann", []string{"finance"}},
		{"the directory's spelling counts", nil, "ANN", []string{"finance"}},
		{"groups by search", deep(0), "ann", []string{"finance"}},
		{"groups around groups", deep(1), "ann", []string{"approvers", "finance"}},
		{"a circle of groups", deep(10), "ann", []string{"approvers", "chiefs", "finance"}},
		{"no groups", func(c *Config) { c.Groups = Groups{} }, "ann", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, log, _ := open(t, test.change)
			got, err := d.Login(t.Context(), test.login, annWord)
			if err != nil {
				t.Fatalf("%v; %s", err, log)
			}
			want := wflo.Identity{Subject: "ann", Name: "Ann Arbor", Email: "ann@example.com", Groups: test.groups, Roles: []wflo.AccessRole{wflo.RoleViewer}, Method: Method, At: d.cfg.Now()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if log.Len() > 0 {
				t.Errorf("a good login is logged: %s", log)
			}
		})
	}
}

func TestOddNamesAreNames(t *testing.T) {
	d, log, _ := open(t, nil)
	if id, err := d.Login(t.Context(), "o'neil (x)*", "odd-canary-password"); err != nil || id.Subject != "o'neil (x)*" {
		t.Errorf("%+v, %v; %s", id, err, log)
	}
}

// The same error after the same requests, whatever is wrong.
func TestRefusalsAreAlike(t *testing.T) {
	for _, test := range []struct{ name, login, password, reason string }{
		{"wrong password", "ann", "canary", "does not take the password"},
		{"password of another", "ann", "bob-canary-password", "does not take the password"},
		{"unknown name", "eve", annWord, "no entry"},
		{"entry outside of the base", "dummy", "dummy-canary-password", "no entry"},
		{"two entries", "twin", "twin-canary-password", "several entries"},
		{"entry without a password", "bare", "canary", "does not take the password"},
		{"injection: anybody", "*", annWord, "no entry"},
		{"injection: anybody else", "*)(uid=*", annWord, "no entry"},
		{"injection: ann or true", "ann)(|(uid=*", annWord, "no entry"},
		{"injection: closed", "ann))(|(objectClass=*)", annWord, "no entry"},
		{"injection: NUL as code", `ann\00`, annWord, "no entry"},
		{"a name of an entry", "uid=ann,ou=people," + base, annWord, "no entry"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, log, asked := open(t, nil)
			id, err := d.Login(t.Context(), test.login, test.password)
			if !errors.Is(err, auth.ErrRefused) || err.Error() != auth.Refused(hint).Error() || id.Subject != "" {
				t.Errorf("%+v, %v", id, err)
			}
			if want := []string{"dial", "bind", "search", "bind"}; !slices.Equal(*asked, want) {
				t.Errorf("asked %v, want %v", *asked, want)
			}
			if !strings.Contains(log.String(), test.reason) || strings.Contains(log.String(), "canary") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// What the server would take for a login of nobody never gets there.
func TestPasswordsThatAreNoneAreNotSent(t *testing.T) {
	c, err := goldap.DialURL(server.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.UnauthenticatedBind("uid=ann,ou=people," + base); err != nil {
		t.Fatalf("this test needs a server that takes binds without a password: %v", err)
	}
	for _, test := range []struct{ login, password string }{
		{"ann", ""}, {"ann", "\x00"}, {"ann", annWord + "\x00"}, {"ann", "\x00" + annWord}, {"ann", strings.Repeat("a", maxPassword+1)}, {"ann", "\xff"},
		{"", annWord}, {"ann\x00", annWord}, {"ann\n", annWord}, {" ann", annWord}, {"ann ", annWord}, {"a\xff", annWord}, {strings.Repeat("a", maxLogin+1), annWord},
	} {
		d, log, asked := open(t, nil)
		id, err := d.Login(t.Context(), test.login, test.password)
		if !errors.Is(err, auth.ErrRefused) || id.Subject != "" || len(*asked) != 0 {
			t.Errorf("%.20q, %.20q: %+v, %v, asked %v", test.login, test.password, id, err, *asked)
		}
		if strings.Contains(log.String(), "canary") {
			t.Errorf("log: %s", log)
		}
	}
}

// named writes down as whom a connection is bound.
type named struct {
	conn
	bound *[]string
}

func (n named) Bind(name, password string) error {
	*n.bound = append(*n.bound, name)
	return n.conn.Bind(name, password)
}

// The entry that stands in for names that fit nobody opens nothing itself.
func TestDummyOpensNothing(t *testing.T) {
	d, log, asked := open(t, func(c *Config) { c.DummyDN = "uid=dummy,ou=own," + base })
	var bound []string
	dial := d.dial
	d.dial = func(ctx context.Context) (conn, error) {
		c, err := dial(ctx)
		return named{c, &bound}, err
	}
	id, err := d.Login(t.Context(), "eve", "dummy-canary-password")
	if want := []string{reader, d.cfg.DummyDN}; !slices.Equal(bound, want) {
		t.Errorf("bound as %q, want %q", bound, want)
	}
	if !errors.Is(err, auth.ErrRefused) || id.Subject != "" || len(*asked) != 4 || !strings.Contains(log.String(), "no entry") {
		t.Errorf("%+v, %v, asked %v; %s", id, err, *asked, log)
	}
}

func TestEntryMustNameOnePerson(t *testing.T) {
	d, log, _ := open(t, nil)
	if id, err := d.Login(t.Context(), "ann2", "many-canary-password"); !errors.Is(err, auth.ErrRefused) || id.Subject != "" || !strings.Contains(log.String(), "not one uid") {
		t.Errorf("%+v, %v; %s", id, err, log)
	}
	d, log, _ = open(t, func(c *Config) {
		c.Mapping = auth.Mapping{GroupRoles: map[string][]wflo.AccessRole{"admins": {wflo.RoleAdmin}}}
	})
	// ann is in a group admins, which somebody made elsewhere.
	if id, err := d.Login(t.Context(), "ann", annWord); !errors.Is(err, auth.ErrNoRole) || id.Subject != "" || !strings.Contains(log.String(), "no role") {
		t.Errorf("%+v, %v; %s", id, err, log)
	}
}

// Nobody connects to where a referral leads.
func TestReferralsAreNotFollowed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	followed := make(chan bool)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		followed <- err == nil
	}()
	admin, err := goldap.DialURL(server.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Bind("cn=admin,"+base, adminWord); err != nil {
		t.Fatal(err)
	}
	const dn = "ou=elsewhere,ou=people," + base
	add := goldap.NewAddRequest(dn, []goldap.Control{goldap.NewControlManageDsaIT(true)})
	add.Attribute("objectClass", []string{"referral", "extensibleObject"})
	add.Attribute("ou", []string{"elsewhere"})
	add.Attribute("ref", []string{"ldap://" + l.Addr().String() + "/" + dn})
	if err := admin.Add(add); err != nil {
		t.Fatal(err)
	}
	for login, want := range map[string]error{"ann": nil, "eve": auth.ErrRefused} {
		d, log, _ := open(t, nil)
		if _, err := d.Login(t.Context(), login, annWord); !errors.Is(err, want) {
			t.Errorf("%s: %v; %s", login, err, log)
		}
	}
	if err := admin.Del(goldap.NewDelRequest(dn, []goldap.Control{goldap.NewControlManageDsaIT(true)})); err != nil {
		t.Error(err)
	}
	l.Close()
	if <-followed {
		t.Error("a referral was followed")
	}
}

func TestDirectoryThatCannotBeAsked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"another certificate":      func(c *Config) { c.TLS = &tls.Config{RootCAs: x509.NewCertPool()} },
		"another name":             func(c *Config) { c.TLS = &tls.Config{RootCAs: server.roots, ServerName: "ldap.example.com"} },
		"wrong password to search": func(c *Config) { c.BindPassword = "canary" },
		"nobody listens":           func(c *Config) { c.URL = "ldap://127.0.0.1:1" },
		"groups where nothing is":  func(c *Config) { c.Groups = Groups{BaseDN: "ou=nowhere," + base, Filter: "(member={dn})"} },
	} {
		d, log, _ := open(t, change)
		id, err := d.Login(t.Context(), "ann", annWord)
		if !errors.Is(err, auth.ErrUnavailable) || id.Subject != "" || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		if strings.Contains(log.String(), "canary") || !strings.Contains(log.String(), "cannot be asked") {
			t.Errorf("%s: log: %s", name, log)
		}
	}
}

// peer answers one connection with what answer says, and gives everything that it
// was sent.
func peer(t *testing.T, answer []byte, accepted func()) (url string, sent func() []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	var done sync.WaitGroup
	done.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		first := make([]byte, 4096)
		n, _ := c.Read(first)
		got.Write(first[:n])
		if accepted != nil {
			accepted()
		}
		_, _ = c.Write(answer)
		_, _ = io.Copy(&got, c)
	})
	return "ldap://" + l.Addr().String(), func() []byte { l.Close(); done.Wait(); return got.Bytes() }
}

// Somebody in between says that the server knows no TLS. No password may follow.
func TestStartTLSCannotBeStripped(t *testing.T) {
	refused := []byte{0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x02, 0x04, 0x00, 0x04, 0x00}
	url, sent := peer(t, refused, nil)
	d, _, _ := open(t, func(c *Config) { c.URL, c.StartTLS = url, true })
	if _, err := d.Login(t.Context(), "ann", annWord); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if got := sent(); len(got) == 0 || bytes.Contains(got, []byte("canary")) || bytes.Contains(got, []byte("reader")) {
		t.Errorf("it was sent %q", got)
	}
}

func TestCallerWhoLeavesIsNotHeldUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, sent := peer(t, nil, cancel)
	d, _, _ := open(t, func(c *Config) { c.URL = url; c.Timeout = time.Hour })
	if _, err := d.Login(ctx, "ann", annWord); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	sent()
	for range cap(d.slots) {
		d.slots <- struct{}{}
	}
	if _, err := d.Login(ctx, "ann", annWord); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("with all connections in use: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"plain to another host":    func(c *Config) { c.URL = "ldap://ldap.example.com" },
		"another scheme":           func(c *Config) { c.URL = "https://ldap.example.com" },
		"password in the address":  func(c *Config) { c.URL = "ldaps://a:b@ldap.example.com" },
		"certificate not verified": func(c *Config) { c.TLS = &tls.Config{InsecureSkipVerify: true} },
		"bind without a password":  func(c *Config) { c.BindPassword = "" },
		"no base":                  func(c *Config) { c.BaseDN = "" },
		"base that is none":        func(c *Config) { c.BaseDN = "people" },
		"filter without the name":  func(c *Config) { c.UserFilter = "(uid=*)" },
		"filter that is none":      func(c *Config) { c.UserFilter = "(uid={name}" },
		"groups anywhere":          func(c *Config) { c.Groups = Groups{Filter: "(member={dn})"} },
		"groups of everybody":      func(c *Config) { c.Groups.Filter = "(cn=*)" },
		"depth without end":        func(c *Config) { c.Groups.Depth = maxDepth + 1 },
		"dummy that is none":       func(c *Config) { c.DummyDN = "dummy" },
		"unknown role":             func(c *Config) { c.Mapping.DefaultRoles = []wflo.AccessRole{"root"} },
	} {
		cfg := good(io.Discard)
		if _, err := New(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := New(cfg); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is typed, the filter is the one of the configuration with one value.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"ann", "*)(uid=*", `\2a`, "a\x00b", "ä", "(", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		filter := fill("(&(objectClass=person)(uid={name}))", "{name}", name)
		packet, err := goldap.CompileFilter(filter)
		if err != nil {
			t.Fatalf("%q: %q: %v", name, filter, err)
		}
		if packet.Tag != goldap.FilterAnd || len(packet.Children) != 2 {
			t.Fatalf("%q: %q has another shape", name, filter)
		}
		user := packet.Children[1]
		if name == "" {
			return // never asked: an empty name is refused before
		}
		if user.Tag != goldap.FilterEqualityMatch || len(user.Children) != 2 || user.Children[0].Data.String() != "uid" || user.Children[1].Data.String() != name {
			t.Fatalf("%q: %q asks for %v", name, filter, user)
		}
	})
}

package ldap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"
)

const (
	base        = "dc=example,dc=com"
	reader      = "cn=reader," + base
	readerWord  = "reader-canary-password"
	adminWord   = "admin-canary-password"
	annWord     = "ann-canary-password"
	startWithin = 30 * time.Second
)

// server is OpenLDAP's slapd for all tests of this package.
var server *slapd

type slapd struct {
	dir, plain, tls string
	roots           *x509.CertPool
	cmd             *exec.Cmd
	exited          chan error
	log             bytes.Buffer
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err == nil {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "wflo-ldap-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	server = &slapd{dir: dir}
	if err := server.start(); err != nil {
		return 1, errors.Join(err, server.stop())
	}
	code := m.Run()
	return code, server.stop()
}

// configuration lets the server take binds without a password, as many do: what is
// tested is that we never send one.
const configuration = `
include SCHEMA/core.schema
include SCHEMA/cosine.schema
include SCHEMA/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
allow bind_anon_dn bind_anon_cred
pidfile DIR/pid
TLSCACertificateFile DIR/cert.pem
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
database mdb
suffix "dc=example,dc=com"
rootdn "cn=admin,dc=example,dc=com"
rootpw admin-canary-password
directory DIR/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,dc=example,dc=com" read by * none
overlay memberof
`

func (s *slapd) start() error {
	program, err := exec.LookPath("slapd")
	if err != nil {
		if program = "/usr/sbin/slapd"; !executable(program) {
			return errors.New("slapd is missing; run deploy/setup.sh tests")
		}
	}
	if err := s.certificate(); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		return err
	}
	conf := filepath.Join(s.dir, "slapd.conf")
	text := strings.NewReplacer("DIR", s.dir, "SCHEMA", "/etc/ldap/schema").Replace(configuration)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	s.plain, s.tls = "ldap://"+ports[0], "ldaps://"+ports[1]
	s.cmd = exec.Command(program, "-f", conf, "-h", s.plain+"/ "+s.tls+"/", "-d", "0")
	s.cmd.SysProcAttr = attributes()
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start slapd: %w", err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }()
	admin, err := s.await()
	if err != nil {
		return err
	}
	defer admin.Close()
	return fillDirectory(admin)
}

func executable(path string) bool {
	about, err := os.Stat(path)
	return err == nil && about.Mode()&0o111 != 0
}

// freePorts gives addresses where nobody listens at the moment.
func freePorts(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// await polls until the server answers, because slapd tells its parent nothing.
func (s *slapd) await() (*goldap.Conn, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(startWithin)
	for {
		c, err := goldap.DialURL(s.plain)
		if err == nil {
			if err = c.Bind("cn=admin,"+base, adminWord); err == nil {
				return c, nil
			}
			_ = c.Close()
		}
		select {
		case <-tick.C:
		case ended := <-s.exited:
			s.exited <- ended
			return nil, fmt.Errorf("slapd ended at once: %v: %s", ended, s.log.String())
		case <-deadline:
			return nil, fmt.Errorf("slapd did not answer in %s: %w", startWithin, err)
		}
	}
}

func (s *slapd) stop() error {
	if s.exited == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	<-s.exited
	return nil
}

func (s *slapd) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(cert)
	return errors.Join(os.WriteFile(filepath.Join(s.dir, "cert.pem"), cert, 0o600),
		os.WriteFile(filepath.Join(s.dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// people is the directory. Groups come after people, so that memberOf is filled in.
const people = `
dc=example,dc=com|objectClass=dcObject,organization|dc=example|o=Example
cn=reader,dc=example,dc=com|objectClass=organizationalRole,simpleSecurityObject|cn=reader|userPassword=reader-canary-password
ou=people,dc=example,dc=com|objectClass=organizationalUnit|ou=people
ou=more,ou=people,dc=example,dc=com|objectClass=organizationalUnit|ou=more
ou=groups,dc=example,dc=com|objectClass=organizationalUnit|ou=groups
ou=own,dc=example,dc=com|objectClass=organizationalUnit|ou=own
uid=ann,ou=people,dc=example,dc=com|objectClass=inetOrgPerson|uid=ann|cn=Ann Arbor|sn=Arbor|mail=ann@example.com|userPassword=ann-canary-password
uid=bob,ou=people,dc=example,dc=com|objectClass=inetOrgPerson|uid=bob|cn=Bob|sn=Builder|userPassword=bob-canary-password
uid=o'neil (x)*,ou=people,dc=example,dc=com|objectClass=inetOrgPerson|uid=o'neil (x)*|cn=Odd|sn=Odd|userPassword=odd-canary-password
uid=twin,ou=people,dc=example,dc=com|objectClass=inetOrgPerson|uid=twin|cn=One|sn=One|userPassword=twin-canary-password
uid=twin,ou=more,ou=people,dc=example,dc=com|objectClass=inetOrgPerson|uid=twin|cn=Two|sn=Two|userPassword=twin-canary-password
uid=many,ou=people,dc=example,dc=com|objectClass=inetOrgPerson|uid=many,ann2|cn=Many|sn=Many|userPassword=many-canary-password
uid=bare,ou=people,dc=example,dc=com|objectClass=inetOrgPerson|uid=bare|cn=Bare|sn=Bare
uid=dummy,ou=own,dc=example,dc=com|objectClass=inetOrgPerson|uid=dummy|cn=Dummy|sn=Dummy|userPassword=dummy-canary-password
cn=finance,ou=groups,dc=example,dc=com|objectClass=groupOfNames|cn=finance|member=uid=ann;ou=people;dc=example;dc=com
cn=approvers,ou=groups,dc=example,dc=com|objectClass=groupOfNames|cn=approvers|member=cn=finance;ou=groups;dc=example;dc=com
cn=chiefs,ou=groups,dc=example,dc=com|objectClass=groupOfNames|cn=chiefs|member=cn=approvers;ou=groups;dc=example;dc=com
cn=admins,ou=own,dc=example,dc=com|objectClass=groupOfNames|cn=admins|member=uid=ann;ou=people;dc=example;dc=com
`

func fillDirectory(c *goldap.Conn) error {
	for line := range strings.Lines(strings.TrimSpace(people)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		add := goldap.NewAddRequest(strings.ReplaceAll(fields[0], "(x)*", `(x)\2a`), nil)
		for _, f := range fields[1:] {
			name, values, _ := strings.Cut(f, "=")
			var all []string
			for _, v := range strings.Split(values, ",") {
				all = append(all, strings.ReplaceAll(v, ";", ","))
			}
			add.Attribute(name, all)
		}
		if err := c.Add(add); err != nil {
			return fmt.Errorf("add %s: %w", fields[0], err)
		}
	}
	// A circle of groups, which a search must leave again.
	circle := goldap.NewModifyRequest("cn=finance,ou=groups,"+base, nil)
	circle.Add("member", []string{"cn=chiefs,ou=groups," + base})
	return c.Modify(circle)
}

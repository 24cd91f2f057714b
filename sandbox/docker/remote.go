package docker

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"

	"github.com/wflo-ai/wflo-go"
)

// The files of a certificate directory, named as the docker command names them.
const (
	caFile   = "ca.pem"
	certFile = "cert.pem"
	keyFile  = "key.pem"
)

// address says where the engine is, and where the certificates for it are: what
// the configuration says, and else what the docker command would read.
func (c Config) address(getenv func(string) string) (host, certs string) {
	host, certs = cmp.Or(c.Host, getenv("DOCKER_HOST")), cmp.Or(c.CertPath, getenv("DOCKER_CERT_PATH"))
	if certs == "" && getenv("DOCKER_TLS_VERIFY") != "" {
		certs = filepath.Join(getenv("HOME"), ".docker")
	}
	return host, certs
}

// connectTo gives a client of the engine. Whoever talks to an engine over a network is
// root on its host, so that one beyond this machine is reached over TLS with both
// sides verified, or not at all.
func connectTo(config Config) (*client.Client, error) {
	host, certs := config.address(os.Getenv)
	options := []client.Opt{client.WithAPIVersionNegotiation()}
	if v := os.Getenv("DOCKER_API_VERSION"); v != "" {
		options = append(options, client.WithVersion(v))
	}
	if host == "" {
		return newClient(options)
	}
	u, err := url.Parse(host)
	if err != nil {
		// What the parser says repeats the address, which may hold a password.
		return nil, badAddress("cannot be read", "write tcp://NAME:2376 or unix:///var/run/docker.sock")
	}
	switch u.Scheme {
	case "unix", "npipe":
		return newClient(append(options, client.WithHost(host)))
	case "tcp":
	case "ssh":
		return nil, badAddress("is an ssh address", "forward the socket (ssh -N -L /run/remote.sock:/var/run/docker.sock HOST) and give unix:///run/remote.sock, or serve TLS")
	default:
		return nil, badAddress(fmt.Sprintf("has the scheme %q", u.Scheme), "use unix, npipe or tcp; tcp speaks TLS where there are certificates")
	}
	if u.Host == "" || u.User != nil || u.Port() == "" {
		return nil, badAddress("is not a name with a port", "write tcp://NAME:2376")
	}
	if certs == "" {
		if !staysHere(u.Hostname()) {
			return nil, badAddress("is a network address without TLS: whoever is on that network could run anything as root on its host",
				"start dockerd with --tlsverify and set DOCKER_CERT_PATH to a directory with ca.pem, cert.pem and key.pem")
		}
		return newClient(append(options, client.WithHost(host)))
	}
	conf, err := tlsConfig(certs)
	if err != nil {
		return nil, err
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, CheckRedirect: client.CheckRedirect}
	return newClient(append(options, client.WithHTTPClient(web), client.WithHost(host)))
}

func newClient(options []client.Opt) (*client.Client, error) {
	cli, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "set docker.host or DOCKER_HOST to an address such as unix:///var/run/docker.sock", "docker.host: %w", err)
	}
	return cli, nil
}

func badAddress(why, hint string) error { return wflo.Invalid("docker.host (DOCKER_HOST)", why, hint) }

// staysHere says that an address cannot leave this machine. Names besides localhost
// are not looked up: what they mean may change.
func staysHere(name string) bool {
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// tlsConfig reads a directory of certificates. The engine's is always verified,
// whatever DOCKER_TLS_VERIFY says. The client's own is read for each connection, so
// that a renewed one needs no restart.
func tlsConfig(dir string) (*tls.Config, error) {
	ca, err := os.ReadFile(filepath.Join(dir, caFile)) //nolint:gosec // the operator names it
	if err != nil {
		return nil, badCerts(dir, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, badCerts(dir, fmt.Errorf("%s has no certificate", caFile))
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
		return &pair, err
	}
	if _, err := load(); err != nil {
		return nil, badCerts(dir, err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() },
	}, nil
}

func badCerts(dir string, err error) error {
	return wflo.Errorf(wflo.CodeInvalid, "put ca.pem, cert.pem and key.pem there, readable by the worker: docs/sandbox-hosts.md says how to make them",
		"the certificates for the container engine in %q (docker.cert_path, DOCKER_CERT_PATH): %w", dir, err)
}

// away says that an error is of an engine that was not reached or did not answer,
// and what to do about that.
func away(err error) (hint string, ok bool) {
	if hint = tlsHint(err); hint != "" {
		return hint, true
	}
	return setupHint, client.IsErrConnectionFailed(err) || errors.Is(err, context.DeadlineExceeded)
}

// tlsHint says what is wrong with certificates; empty where they are not to blame.
func tlsHint(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	text := err.Error()
	switch {
	case errors.As(err, &authority):
		return "ca.pem has not signed the certificate that this engine shows: give the directory (DOCKER_CERT_PATH) that belongs to this engine"
	case errors.As(err, &name):
		return "the engine's certificate is for other names: use one of them as its address, or make one with this name as subjectAltName"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the engine's certificate is not valid at this time: renew it, and look at this machine's clock"
	case errors.As(err, &invalid):
		return "the engine's certificate is not one for a server: make one with extendedKeyUsage serverAuth"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "the engine does not speak TLS at this address: start dockerd with --tlsverify, or use its TLS port (2376)"
	case strings.Contains(text, "HTTP request to an HTTPS server"):
		return "the engine wants TLS at this address: set DOCKER_CERT_PATH to a directory with ca.pem, cert.pem and key.pem"
	}
	if alert := refusedBy(text); alert != "" {
		return "the engine refuses cert.pem (" + alert + "): use a certificate that its --tlscacert has signed, that has not expired, and with extendedKeyUsage clientAuth"
	}
	return ""
}

// refusedBy is the reason that a server gave for not taking the client's
// certificate. The client library passes on the text only.
func refusedBy(text string) string {
	for _, alert := range []string{
		"bad certificate", "certificate required", "unknown certificate authority", "expired certificate", "unsupported certificate",
		"unknown certificate", "revoked certificate", "access denied",
	} {
		if strings.Contains(text, "remote error: tls: "+alert) {
			return alert
		}
	}
	return ""
}

package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wflo-ai/wflo-go"
)

// probeTime bounds the second look at a server that a client could not connect to.
const probeTime = 3 * time.Second

// preface begins a connection of HTTP/2: a server says what it thinks of us after it.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// HintBusy is what to do when Temporal answers ResourceExhausted, which its client has
// already repeated for a while.
const HintBusy = "try again in a moment; if it stays, ask your Temporal's operator for a higher limit of calls (frontend.namespaceRPS), or run fewer workers and commands at a time"

// Explain says what is wrong where a client could not connect, as an *wflo.Error with a
// hint; an error that has nothing to do with the connection's security, or with limits of
// the server's, comes back as it is. gRPC hides why a handshake failed behind a deadline, so it makes another one.
func Explain(ctx context.Context, err error, o client.Options) error {
	if err == nil {
		return nil
	}
	address := o.HostPort
	if address == "" {
		address = client.DefaultHostPort
	}
	var denied *serviceerror.PermissionDenied
	var busy *serviceerror.ResourceExhausted
	switch {
	case errors.As(err, &busy):
		return wflo.Errorf("", HintBusy, "Temporal at %s refuses because it has too much to do: %w", address, err)
	case status.Code(err) == codes.Unauthenticated:
		return wflo.Errorf(wflo.CodeMissingKey, "set TEMPORAL_API_KEY or TEMPORAL_API_KEY_FILE, or a client certificate with TEMPORAL_TLS_CLIENT_CERT_PATH and _KEY_PATH",
			"Temporal at %s wants to know who you are: %w", address, err)
	case errors.As(err, &denied):
		return wflo.Errorf(wflo.CodeMissingKey, "look at what the API key or the certificate may do, and at TEMPORAL_NAMESPACE", "Temporal at %s refuses: %w", address, err)
	case !unreachable(err):
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	if o.ConnectionOptions.TLS == nil {
		return plain(ctx, err, address)
	}
	if found := handshake(ctx, address, o.ConnectionOptions.TLS); found != nil {
		return found
	}
	return err
}

func unreachable(err error) bool {
	var unavailable *serviceerror.Unavailable
	var deadline *serviceerror.DeadlineExceeded
	return errors.As(err, &unavailable) || errors.As(err, &deadline) || errors.Is(err, context.DeadlineExceeded)
}

// plain looks whether the server speaks TLS to a client that does not.
func plain(ctx context.Context, err error, address string) error {
	conn, dialed := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}).DialContext(ctx, "tcp", address) //nolint:gosec // nothing is sent
	if dialed != nil && !strings.Contains(dialed.Error(), "remote error: tls") {
		return err
	}
	if dialed == nil {
		// Whoever answers for an address that nobody has, a proxy perhaps, is not Temporal.
		grpc := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol == "h2"
		_ = conn.Close()
		if !grpc {
			return err
		}
	}
	return wflo.Errorf(wflo.CodeInvalid, "set TEMPORAL_TLS=true, or the profile's tls", "Temporal at %s wants TLS, and the connection has none", address)
}

// handshake makes one, and gives nil when there is nothing wrong with it.
func handshake(ctx context.Context, address string, conf *tls.Config) error {
	conf = conf.Clone()
	conf.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", address)
	if err != nil {
		return verdict(err, address)
	}
	defer conn.Close()
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	// What a server thinks of a client's certificate comes after the handshake.
	_, err = io.WriteString(conn, preface)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	var late net.Error
	if err == nil || errors.As(err, &late) && late.Timeout() {
		return nil
	}
	return verdict(err, address)
}

// verdict turns the error of a handshake into words; nil where it is something else.
func verdict(err error, address string) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	say := func(hint, format string) error { return wflo.Errorf(wflo.CodeInvalid, hint, format, address, err) }
	const own = "name a good pair with TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH, or in the profile"
	switch text := err.Error(); {
	case errors.As(err, &unknown):
		return say("name the CA that signed it with TEMPORAL_TLS_SERVER_CA_CERT_PATH, or in the profile", "Temporal's certificate at %s is signed by nobody who is trusted here: %w")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return say("renew the server's certificate, and compare the clocks", "Temporal's certificate at %s is not valid now: %w")
	case errors.As(err, &name):
		return say("use the name that is in the certificate, or set TEMPORAL_TLS_SERVER_NAME to it", "Temporal's certificate at %s is for another name: %w")
	case errors.As(err, &record):
		return say("set TEMPORAL_TLS=false if that is meant, and do without an API key", "what answers at %s does not speak TLS: %w")
	case strings.Contains(text, "client certificate: "):
		return say(own, "the client certificate for %s cannot be read: %w")
	case strings.Contains(text, "tls: expired certificate"):
		return say("renew it; programs read the files again by themselves", "Temporal at %s says that the client certificate has expired: %w")
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "tls: bad certificate"), strings.Contains(text, "tls: handshake failure"):
		return say(own, "Temporal at %s wants a client certificate, and has got none that it takes: %w")
	case strings.Contains(text, "tls: unknown certificate authority"):
		return say("have the certificate signed by a CA that the server knows", "Temporal at %s does not know who signed the client certificate: %w")
	}
	return nil
}

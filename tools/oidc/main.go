// Command oidc is an OpenID provider for the tests of internal/auth/oidc: the
// OpenID-certified library github.com/zitadel/oidc with the storage and the login
// form of its example. It adds what the example lacks: groups and roles among the
// claims, an e-mail address that nobody verified, and a port that the system chooses.
//
// It prints its issuer on one line and serves until its standard input ends, so
// that it ends with the test that started it. Its passwords are in its source: it
// listens on the loopback interface, and is good for nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oidc:", err)
		os.Exit(1)
	}
}

// run serves clients "wflo" and "other", both with the redirect address that is
// its one argument.
func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: oidc REDIRECT-URL")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "http://" + listener.Addr().String() + "/"
	storage.RegisterClients(
		storage.WebClient("wflo", "wflo-client-secret", args[0]),
		storage.WebClient("other", "other-client-secret", args[0]),
	)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	users, err := usersFile()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           exampleop.SetupServer(issuer, withGroups{storage.NewStorage(users)}, quiet, false),
		ReadHeaderTimeout: 10 * time.Second,
	}
	if _, err := fmt.Fprintln(out, issuer); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// people are the users, as the example's storage reads them from a file. ann's
// address is verified, and bob's is not.
const people = `{
	"id-ann": {"ID": "id-ann", "Username": "ann", "Password": "ann-password", "FirstName": "Ann", "LastName": "Arbor", "Email": "ann@example.com", "EmailVerified": true},
	"id-bob": {"ID": "id-bob", "Username": "bob", "Password": "bob-password", "FirstName": "Bob", "LastName": "Builder", "Email": "bob@example.com"}
}`

func usersFile() (storage.UserStore, error) {
	f, err := os.CreateTemp("", "oidc-users-*.json")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(people); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return storage.StoreFromFile(f.Name())
}

// withGroups adds claims as they are usual: a list of groups, and Keycloak's
// nested roles.
type withGroups struct{ *storage.Storage }

func (s withGroups) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, tokenID, subject, origin string) error {
	if err := s.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin); err != nil {
		return err
	}
	if subject == "id-ann" {
		info.AppendClaims("groups", []string{"Finance", "Engineering"})
		info.AppendClaims("realm_access", map[string]any{"roles": []string{"approvals"}})
	}
	return nil
}

var _ op.Storage = withGroups{}

// Command console serves wflo's console behind a proxy that knows who people are. It
// takes the file and the variables of `wflo console`, and
//
//	PROXY_SECRET      what the proxy sends as X-Proxy-Secret, at least 32 bytes
//	PROXY_ADDRESSES   where it sends from, with commas; 127.0.0.1/32,::1/128 when unset
package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/console"
	"github.com/wflo-ai/wflo-go/examples/trustedproxy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	from, err := prefixes(cmp.Or(os.Getenv("PROXY_ADDRESSES"), "127.0.0.1/32,::1/128"))
	if err != nil {
		return err
	}
	proxy, err := trustedproxy.New(trustedproxy.Config{
		Secret: os.Getenv("PROXY_SECRET"), From: from,
		Roles: map[string][]wflo.AccessRole{"staff": {wflo.RoleViewer}, "finance": {wflo.RoleApprover}},
	})
	if err != nil {
		return err
	}
	temporal, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's configuration: %w", err)
	}
	pages, err := console.New(ctx, console.Config{
		File: os.Getenv("WFLO_CONFIG"), DataDir: os.Getenv("WFLO_DATA_DIR"), Database: os.Getenv("WFLO_DATABASE"),
		Temporal: temporal, Authenticators: []console.Authenticator{proxy},
	})
	if err != nil {
		return err
	}
	defer pages.Close()
	if err := pages.Start(); err != nil {
		return err
	}
	fmt.Println("Console", pages.URL())
	<-ctx.Done()
	return nil
}

func prefixes(text string) (all []netip.Prefix, err error) {
	for _, one := range strings.Split(text, ",") {
		p, err := netip.ParsePrefix(one)
		if err != nil {
			return nil, wflo.Errorf(wflo.CodeInvalid, "write networks, such as 10.0.0.7/32", "PROXY_ADDRESSES: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
}

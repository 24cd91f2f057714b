package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/mcpserver"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// Bounds of the HTTP server of wflo mcp.
const (
	mcpHeaderTime = 10 * time.Second
	mcpReadTime   = 30 * time.Second
	mcpWriteTime  = 60 * time.Second // more than the API gives itself
	mcpIdleTime   = 2 * time.Minute
	mcpStopTime   = 5 * time.Second
	mcpHeader     = 64 << 10
)

// mcpListen serves HTTP until the command is stopped.
func (a *app) mcpListen(ctx context.Context, f mcpFlags) error {
	open, err := a.openAPI()
	if err != nil {
		return err
	}
	secure, err := mcpTLS(f)
	if err != nil {
		return err
	}
	if err := a.mcpMayListen(ctx, f, open, secure != nil); err != nil {
		return err
	}
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return Usage("stop what listens there, or choose another address", "listen on %s: %w", f.listen, err)
	}
	logger := slog.New(slog.NewTextHandler(a.deps.Stderr, nil))
	server := &http.Server{
		Handler: mcpserver.Handler(a.mcpHTTP(open, f, logger)), TLSConfig: secure, MaxHeaderBytes: mcpHeader,
		ReadHeaderTimeout: mcpHeaderTime, ReadTimeout: mcpReadTime, WriteTimeout: mcpWriteTime, IdleTimeout: mcpIdleTime,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // scanners on an open port are not our failures
	}
	return a.mcpServe(ctx, server, l)
}

// mcpServe announces the address and serves until ctx ends.
func (a *app) mcpServe(ctx context.Context, server *http.Server, l net.Listener) error {
	scheme, serve := "http://", func() error { return server.Serve(l) }
	if server.TLSConfig != nil {
		scheme, serve = "https://", func() error { return server.ServeTLS(l, "", "") }
	}
	done := make(chan error, 1)
	go func() { done <- serve() }()
	address := scheme + l.Addr().String() + mcpserver.Path
	var err error
	if a.format != formatText {
		err = a.printJSON(map[string]string{"mcp": address})
	} else {
		_, err = fmt.Fprintln(a.deps.Stdout, "MCP "+address)
	}
	if err == nil {
		select {
		case err = <-done:
			return fmt.Errorf("serve the Model Context Protocol: %w", err)
		case <-ctx.Done():
		}
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), mcpStopTime)
	defer cancel()
	if server.Shutdown(within) != nil {
		_ = server.Close()
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// mcpHTTP is a handler's configuration: every request asks with its own key.
func (a *app) mcpHTTP(open *api, f mcpFlags, logger *slog.Logger) mcpserver.HTTPConfig {
	as := func(key string) (*api, error) {
		one := *open
		return &one, one.bear(key)
	}
	return mcpserver.HTTPConfig{
		As: func(key string) (mcpserver.Config, error) {
			c, err := as(key)
			if err != nil {
				return mcpserver.Config{}, err
			}
			return a.mcpConfig(c, f), nil
		},
		Knows: func(ctx context.Context, key string) error {
			c, err := as(key)
			if err != nil {
				return err
			}
			var me console.Whoami
			return c.get(ctx, "/whoami", nil, &me)
		},
		Stranger: func(err error) bool { return errors.Is(err, errStranger) },
		Logger:   logger,
	}
}

func mcpTLS(f mcpFlags) (*tls.Config, error) {
	if f.cert == "" && f.key == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, Usage("give a certificate and its key in PEM, with --tls-cert and --tls-key", "read the certificate: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
}

// mcpMayListen refuses what would send keys in the clear over a network, or let everybody
// on it ask an API that knows nobody.
func (a *app) mcpMayListen(ctx context.Context, f mcpFlags, open *api, secure bool) error {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return Usage("use HOST:PORT, such as 127.0.0.1:7246", "--listen %q: %w", f.listen, err)
	}
	if onThisMachine("http://" + net.JoinHostPort(host, "0")) {
		return nil
	}
	if !secure {
		return Usage("give --tls-cert and --tls-key, or listen on 127.0.0.1", "%s is not on this machine, and keys would come in the clear", f.listen)
	}
	var me console.Whoami
	err = open.get(ctx, "/whoami", nil, &me)
	switch {
	case err == nil:
		return Usage("use an API that asks for keys, or listen on 127.0.0.1", "the API at %s answers everybody, and %s is not on this machine", open.base, f.listen)
	case errors.Is(err, errStranger):
		return nil
	}
	return err
}

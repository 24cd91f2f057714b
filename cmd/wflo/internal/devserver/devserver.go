// Package devserver runs a whole Temporal cluster and its Web UI inside this
// process: what `wflo dev` and the end-to-end tests talk to. Call [Start], use
// [Server.HostPort] with any Temporal client, and [Server.Stop] at the end.
//
// It is a fast dev server, not the stock one. One history shard, a WAL file,
// one partition per task queue and a raised poll rate of the internal queues
// bring an activity from 100 ms down to about 10 ms; [Config].Stock turns that
// off, so that a benchmark can show the difference.
//
// It listens on loopback, has no authentication and keeps everything in one
// SQLite file. It is not for production, and it refuses files that it did not
// make itself rather than touch them.
package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
)

// DefaultRetention is how long closed runs stay visible.
const DefaultRetention = 7 * 24 * time.Hour

// pollEvery is the pause between two looks at whether the server is up.
const pollEvery = 20 * time.Millisecond

// Config says where the server listens and what it keeps. The zero value is a
// server in memory on free loopback ports.
type Config struct {
	// DataDir holds the database; it is made when it does not exist. Empty
	// means memory: everything is gone after Stop.
	DataDir string
	// IP is the address that clients and browsers connect to. Empty means
	// 127.0.0.1. The internal services listen on 127.0.0.1 in any case.
	IP string
	// Port is for gRPC clients, UIPort for the Web UI, HTTPPort for Temporal's
	// HTTP API. Zero means a free port.
	Port, UIPort, HTTPPort int
	// Namespace is made when it does not exist. Empty means "default".
	Namespace string
	// Retention is how long closed runs of a new namespace stay; zero means
	// DefaultRetention.
	Retention time.Duration
	// Logger gets the server's own log; nil means none.
	Logger *slog.Logger
	// LogLevel is the least level that reaches Logger; nil means slog.LevelError.
	// At info the server writes some 400 lines per start.
	LogLevel slog.Leveler
	// CodecEndpoint is the codec server that the Web UI asks, from the browser, for what is
	// sealed; empty means none.
	CodecEndpoint string
	// Stock leaves the settings of `temporal server start-dev` as they are. It
	// is there to measure against.
	Stock bool
}

func (c Config) withDefaults() Config {
	if c.IP == "" {
		c.IP = loopback
	}
	if c.Namespace == "" {
		c.Namespace = "default"
	}
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.LogLevel == nil {
		c.LogLevel = slog.LevelError
	}
	return c
}

func (c Config) validate() error {
	if net.ParseIP(c.IP) == nil {
		return wflo.Invalid("--ip", fmt.Sprintf("is %q", c.IP), "give an IP address, such as 127.0.0.1")
	}
	if c.Retention < time.Hour {
		return wflo.Invalid("retention", "is "+c.Retention.String(), "use an hour or more, or 0 for seven days")
	}
	return nil
}

// Server is a running dev server.
type Server struct {
	cfg      Config
	ports    ports
	file     string
	log      *serverLog
	temporal temporal.Server
	ui       *uiserver.Server
	uiDone   chan struct{}
	lock     io.Closer
	stop     sync.Once
}

// Start brings the server up and returns when clients can use the namespace and
// the Web UI answers. ctx bounds the start only; call Stop to end the server.
//
// Ports that are taken and files that are not ours are *wflo.Error with a hint,
// found before anything is started or written.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: newServerLog(cfg.Logger, cfg.LogLevel)}
	chosen, release, err := choosePorts(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer release()
	s.ports = chosen
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	if err := s.launch(); err != nil {
		s.Stop()
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("wait for the dev server: %w", err)
	}
	return s, nil
}

// openStore checks or makes the database file and holds its lock.
func (s *Server) openStore(ctx context.Context) error {
	if s.cfg.DataDir == "" {
		return nil
	}
	if err := makeDataDir(s.cfg.DataDir); err != nil {
		return err
	}
	s.file = filepath.Join(s.cfg.DataDir, fileName())
	lock, err := lockDir(ctx, s.cfg.DataDir)
	if err != nil {
		return err
	}
	s.lock = lock
	if err := prepareFile(ctx, s.file); err != nil {
		return errors.Join(err, lock.Close())
	}
	return nil
}

// launch starts the cluster and the UI, without waiting for either.
func (s *Server) launch() error {
	store := sqlConfig(s.file, s.cfg.Stock)
	if err := createNamespace(store, s.cfg); err != nil {
		return err
	}
	conf := serverConfig(s.cfg, s.ports, store)
	claims := authorization.NewNoopClaimMapper()
	server, err := temporal.NewServer(
		temporal.WithConfig(conf),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(staticHosts(s.ports)),
		temporal.WithLogger(s.log),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return claims }),
		temporal.WithDynamicConfigClient(dynamicConfig(s.cfg.Stock)),
	)
	if err != nil {
		return fmt.Errorf("build the Temporal server: %w", err)
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start the Temporal server: %w", err)
	}
	s.temporal = server
	s.startUI()
	return nil
}

// startUI serves the Web UI until Stop.
func (s *Server) startUI() {
	s.ui = uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		Host:                bracket(s.cfg.IP),
		Port:                s.ports.ui,
		TemporalGRPCAddress: s.HostPort(),
		DefaultNamespace:    s.cfg.Namespace,
		EnableUI:            true,
		CORS:                uiconfig.CORS{CookieInsecure: true}, // plain HTTP on loopback
		HideLogs:            true,
		DisableNewsFetch:    true, // or it calls out to the internet
		Codec:               uiconfig.Codec{Endpoint: s.cfg.CodecEndpoint},
	}))
	s.uiDone = make(chan struct{})
	go func() {
		defer close(s.uiDone)
		if err := s.ui.Start(); err != nil {
			s.cfg.Logger.Error("web UI ended", "error", err)
		}
	}()
}

// await polls until a client can use the namespace and a browser the UI.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// gRPC waits a second after a refused connection, so knock by TCP first.
	if err := poll(ctx, func() error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", s.HostPort())
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		return fmt.Errorf("connect to %s: %w", s.HostPort(), err)
	}
	if err := s.awaitNamespace(ctx); err != nil {
		return err
	}
	web := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	return poll(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.UIURL()+"/", nil)
		if err != nil {
			return err
		}
		resp, err := web.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("web UI: %s", resp.Status)
		}
		return nil
	})
}

// awaitNamespace registers the search attributes and waits until a query may
// use them, which also proves that the namespace is in the server's cache.
func (s *Server) awaitNamespace(ctx context.Context) error {
	c, err := client.NewLazyClient(client.Options{
		HostPort: s.HostPort(), Namespace: s.cfg.Namespace, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer c.Close()
	if err := poll(ctx, func() error {
		_, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: s.cfg.Namespace})
		return err
	}); err != nil {
		return fmt.Errorf("describe namespace %s: %w", s.cfg.Namespace, err)
	}
	// A namespace that is older than an attribute does not have it yet.
	if err := poll(ctx, func() error {
		_, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
			Namespace: s.cfg.Namespace, SearchAttributes: plugin.SearchAttributes(),
		})
		return err
	}); err != nil {
		return fmt.Errorf("add search attributes: %w", err)
	}
	probe := fmt.Sprintf("%s = 'x' AND %s = 'x' AND %s = 'x' AND %s = 'x' AND %s > 0",
		wflo.AttrState, wflo.AttrGates, wflo.AttrUser, wflo.AttrTeam, wflo.AttrCost)
	if err := poll(ctx, func() error {
		_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: s.cfg.Namespace, Query: probe})
		return err
	}); err != nil {
		return fmt.Errorf("query by search attributes: %w", err)
	}
	return nil
}

// poll calls try until it succeeds or ctx ends; then it returns the last error.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// Stop ends the UI and the cluster and releases the data directory. It takes
// about a second and may be called more than once.
func (s *Server) Stop() {
	s.stop.Do(func() {
		// The services complain about each other's absence while they go down.
		s.log.silence()
		if s.ui != nil {
			s.ui.Stop()
			<-s.uiDone
		}
		if s.temporal != nil {
			if err := s.temporal.Stop(); err != nil {
				s.cfg.Logger.Warn("stop the Temporal server", "error", err)
			}
		}
		if s.temporal != nil && s.file != "" {
			if err := fold(s.file); err != nil {
				s.cfg.Logger.Warn("fold the database's log", "error", err)
			}
		}
		if s.lock != nil {
			if err := s.lock.Close(); err != nil {
				s.cfg.Logger.Warn("release the data directory", "error", err)
			}
		}
	})
}

// HostPort is the address for Temporal clients.
func (s *Server) HostPort() string { return hostPort(dialIP(s.cfg.IP), s.ports.grpc) }

// HTTPURL is the address of Temporal's HTTP API.
func (s *Server) HTTPURL() string { return "http://" + hostPort(dialIP(s.cfg.IP), s.ports.http) }

// UIURL is the address of the Web UI, without a slash at the end.
func (s *Server) UIURL() string { return "http://" + hostPort(dialIP(s.cfg.IP), s.ports.ui) }

// Namespace is the namespace that was made.
func (s *Server) Namespace() string { return s.cfg.Namespace }

// File is the path of the database, or "" in memory.
func (s *Server) File() string { return s.file }

// Version is the version of the embedded Temporal server.
func Version() string { return headers.ServerVersion }

func createNamespace(store *config.SQL, cfg Config) error {
	ns, err := sqlite.NewNamespaceConfig(clusterName, cfg.Namespace, false, plugin.SearchAttributes())
	if err != nil {
		return fmt.Errorf("namespace %s: %w", cfg.Namespace, err)
	}
	ns.Detail.Config.Retention = retention(cfg.Retention)
	if err := sqlite.CreateNamespaces(store, ns); err != nil {
		return fmt.Errorf("create namespace: %w", err)
	}
	return nil
}

func makeDataDir(dir string) error {
	for _, r := range dir {
		// The server puts the path into a URI without escaping it.
		if r == '?' || r == '#' || r == '%' {
			return wflo.Errorf(wflo.CodeInvalid, "choose another directory with --data-dir",
				"data directory %s: the name must not hold ?, # or %%", strconv.Quote(dir))
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return wflo.Errorf(wflo.CodeInvalid, "choose a directory that you may write to with --data-dir", "data directory: %w", err)
	}
	return nil
}

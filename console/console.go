// Package console is what `wflo console` serves, the pages and the API on which people
// decide, for programs that let people in by a way of their own: by what a proxy says,
// a directory of the house, a provider that speaks no OpenID Connect. [New] reads the
// same wflo.yaml and takes, besides what stands there, an [Authenticator], [Passwords]
// or [Redirects] of yours; [Console.Start] serves, [Console.Close] ends it all.
//
// Whatever your part does, it lets nobody in by accident. Its errors refuse, and so do
// a panic, an identity without a subject or a role, and a name that no list of approvers
// can hold. What somebody may do is decided as for everybody else: by the roles and the
// org of the identity, and then by the gate.
//
// It does not start without a key to sign decisions with, without the workers' database,
// or where nobody could log in.
package console

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/story"
	"github.com/wflo-ai/wflo-go/plugin"
)

// DefaultListen is where the console listens when nobody says where.
const DefaultListen = "127.0.0.1:7244"

// dialTimeout bounds the first connection to Temporal.
const dialTimeout = 10 * time.Second

// Config says what the console serves, and whom it lets in.
type Config struct {
	// File is the configuration file, such as wflo.yaml: its section console, and the
	// approvals and audit of the workers' file. Required.
	File string
	// Listen is HOST:PORT; empty means listen of the file, or DefaultListen.
	Listen string
	// DataDir and Database say where the workers' database is, as in plugin.Config: a
	// directory for SQLite, or an address of PostgreSQL.
	DataDir, Database string
	// Temporal says how to reach Temporal; the zero value means localhost:7233 and the
	// namespace default. Its Logger and Identity are set where they are empty.
	Temporal client.Options

	// Authenticators prove who sends a request. They are asked in their order, before
	// sessions, API keys and ID tokens; the first that finds a credential decides.
	Authenticators []Authenticator
	// Passwords takes the names and passwords of the login page; nil means ldap of the
	// file, or that it has no such form.
	Passwords Passwords
	// Redirects log people in elsewhere, by the name that the login page shows and that
	// stands in its address: small letters, digits and dashes. A provider sends browsers
	// back to /login/via/NAME/callback. They are besides oidc of the file.
	Redirects map[string]Redirects

	// Logger gets what people are not told; nil means slog.Default.
	Logger *slog.Logger
}

// Console is the pages and the API, ready to serve. It is an http.Handler for a server
// of your own; [Console.Start] is one.
type Console struct {
	file    config.File
	records activities.Records
	logger  *slog.Logger
	handler *console.Handler
	server  *console.Server // nil before Start
	closers []func()        // from the last to the first
	closing sync.Once
}

// New reads the configuration, opens the database and connects to Temporal. What would
// leave the console open or of no use is an error that says what to do. Checkpoints of
// the audit trail are signed from then on, where the file has a key for them. ctx bounds
// New alone.
func New(ctx context.Context, cfg Config) (*Console, error) {
	if cfg.File == "" {
		return nil, wflo.Invalid("console.Config.File", "is empty", "name a configuration file; docs/wflo.example.yaml is one")
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	file, err := config.Load(cfg.File)
	if err != nil {
		return nil, err
	}
	c := &Console{file: file, logger: cmp.Or(cfg.Logger, slog.Default())}
	if err := c.open(ctx, cfg); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// open does what New says. What it has opened when it fails is for Close.
func (c *Console) open(ctx context.Context, cfg Config) error {
	sign, err := c.signer()
	if err != nil {
		return err
	}
	ledger, records, err := plugin.OpenDatabase(ctx, plugin.Config{DataDir: cfg.DataDir, Database: cfg.Database, Logger: c.logger})
	if err != nil {
		return err
	}
	c.later(func() { _ = ledger.Close() })
	c.records = records
	checkpoints, err := c.checkpoints()
	if err != nil {
		return err
	}
	records = checkpoints.metrics.Audited(records)
	c.records = records
	served, err := c.access(cfg)
	if err != nil {
		return err
	}
	served.Addr = cmp.Or(cfg.Listen, c.file.Console.Listen, DefaultListen)
	temporal, namespace, err := c.dial(ctx, cfg.Temporal)
	if err != nil {
		return err
	}
	c.later(temporal.Close)
	served.Client, served.Ledger, served.Metrics = temporal, ledger, checkpoints.metrics.Handler()
	served.Desk = &desk.Desk{
		Client: temporal, Namespace: namespace, Records: records, Sign: sign, Terms: c.file.Approvals.Terms, Logger: c.logger,
	}
	served.Links = console.Links{Temporal: c.file.Console.TemporalUI, Trace: c.file.Console.Traces}
	if served.Setup, err = c.setup(); err != nil {
		return err
	}
	served.Story = c.story(cfg.Temporal, temporal, namespace, ledger)
	c.handler = console.NewHandler(served)
	c.later(c.handler.Wait)
	c.later(checkpoints.begin(context.WithoutCancel(ctx)))
	return nil
}

// story is who tells the stories of runs. Payloads that the workers keep out of histories
// are told where the options for Temporal reach their store.
func (c *Console) story(opts client.Options, temporal client.Client, namespace string, ledger activities.Ledger) *story.Teller {
	cfg := story.Config{
		Client: temporal, Namespace: namespace, Ledger: ledger,
		Converter: opts.DataConverter, Storage: opts.ExternalStorage.Drivers, Logger: c.logger,
	}
	if l, ok := ledger.(interface{ Recovery() activities.Recovery }); ok {
		cfg.Recovery = l.Recovery()
	}
	return story.New(cfg)
}

// later has Close do something, before what is to be done already.
func (c *Console) later(do func()) { c.closers = append(c.closers, do) }

// dial connects to Temporal, and gives the namespace that it is connected to.
func (c *Console) dial(ctx context.Context, opts client.Options) (client.Client, string, error) {
	opts.Namespace = cmp.Or(opts.Namespace, client.DefaultNamespace)
	opts.Identity = cmp.Or(opts.Identity, "wflo:console")
	if opts.Logger == nil {
		opts.Logger = log.NewStructuredLogger(c.logger)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	temporal, err := client.DialContext(ctx, opts)
	if err != nil {
		return nil, "", wflo.Errorf("", "name Temporal with --address, TEMPORAL_ADDRESS or Config.Temporal", "connect to Temporal at %s: %w", cmp.Or(opts.HostPort, client.DefaultHostPort), err)
	}
	return temporal, opts.Namespace, nil
}

// ServeHTTP answers for a server of your own. Give it TLS, or a proxy that has it, and
// have it pass on the addresses of its peers: limits and records are by them.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// Start listens and serves until Close, with the certificate of the file if it has one.
// It is called once. An address that is taken is an *wflo.Error.
func (c *Console) Start() error {
	if c.server != nil {
		return wflo.Invalid("the console", "has been started", "make another with console.New")
	}
	server, err := c.handler.Start()
	if err != nil {
		return err
	}
	c.server = server
	c.later(server.Stop)
	return nil
}

// URL is where the console listens, or "" before Start.
func (c *Console) URL() string {
	if c.server == nil {
		return ""
	}
	return c.server.URL()
}

// PublicURL is url of the file: the address as browsers have it, or "".
func (c *Console) PublicURL() string { return c.file.Console.URL }

// Close stops listening, waits for requests in flight and for the last checkpoint, and
// closes the database and the connection to Temporal. A server of your own is stopped
// before. More calls do nothing.
func (c *Console) Close() {
	c.closing.Do(func() {
		for i := len(c.closers) - 1; i >= 0; i-- {
			c.closers[i]()
		}
	})
}

// Package dev is the command `wflo dev`: Temporal, its Web UI and a worker in
// one process, on one machine, with nothing else to install. A program makes
// the command with [Command] and says in [Config] how to start its worker.
//
// The command is for development: there is no authentication, so it listens on
// loopback unless it is told otherwise.
package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
)

// Info is what a worker needs to know of the dev server.
type Info struct {
	// HostPort and Namespace are for the Temporal client.
	HostPort, Namespace string
	// UIURL is Temporal's Web UI, without a slash at the end.
	UIURL string
	// IP and APIPort are where an API may listen. APIPort 0 means a free port.
	IP      string
	APIPort int
	// DataDir exists and belongs to this process. Ephemeral says that nothing
	// about runs should be kept in it.
	DataDir   string
	Ephemeral bool
	// Scripted asks for the scripted models even where the environment has keys
	// for real ones.
	Scripted bool
	// Configured asks for the configuration of the environment: WFLO_CONFIG and the
	// other variables of plugin.FromEnv, but for those that name an installation,
	// which are those of this Info.
	Configured bool
	// Approver signs decisions; its Name and Public belong into the worker's
	// approver keys.
	Approver approver.Key
	// Logger writes to standard error at the level that was asked for.
	Logger *slog.Logger
	// Announce adds a line to what the command prints when all is up, such as
	// ("API", "http://127.0.0.1:7244").
	Announce func(name, value string)
}

// Config says what runs beside the server.
type Config struct {
	// StartWorker starts the worker and whatever goes with it, and returns when
	// that is ready; stop ends it and waits. ctx ends when the command is asked
	// to stop. Nil means no worker, and the command says so.
	StartWorker func(ctx context.Context, info Info) (stop func(), err error)
	// Next is the command to try first, shown below the addresses; empty means
	// none.
	Next string
}

type flags struct {
	ip                              string
	port, uiPort, httpPort, apiPort int
	dataDir                         string
	ephemeral, stock                bool
	readyFile, logLevel             string
	watch                           string
}

// Command makes `wflo dev`.
func Command(cfg Config) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start Temporal, its Web UI and a worker on this machine",
		Long: `Start Temporal, its Web UI and a worker in this process, for development. Runs
are kept in the data directory and are there again at the next start. There is
no authentication; everything listens on loopback unless --ip says otherwise.
Ctrl-C stops it.

The worker takes the variables of production workers, such as WFLO_CONFIG with
budgets, routes, the response cache, keys of the OpenAI-compatible endpoint,
policies, channels and what holds at approval gates. Approver keys and checkpoints
of that file do not count here, and WFLO_OWNER, WFLO_DATA_DIR, WFLO_DATABASE, WFLO_APPROVER_KEYS and
WFLO_ALLOW_UNSIGNED do not either: they belong to another installation. Everybody
who reaches the console is taken for who they say they are.

With --watch, the worker of a project of yours runs as well: DIR/worker is built with
go build and started again whenever a file of Go in DIR changes; what does not build
is shown, and the worker before goes on. It gets TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE,
WFLO_DATA_DIR and the approver's key of this server, and WFLO_DEV=1.`,
		Example: "  wflo dev\n  wflo dev --watch .\n  wflo dev --ephemeral --port 0 --ui-port 0 --ready-file ready.json",
		Args: func(_ *cobra.Command, given []string) error {
			if len(given) > 0 {
				return cli.Usage("see: wflo dev --help", "wflo dev takes no argument, got %q", given[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd, cfg, f) },
	}
	set := cmd.Flags()
	set.StringVar(&f.ip, "ip", "127.0.0.1", "address to listen on")
	set.IntVar(&f.port, "port", 7233, "port of Temporal (0: a free one)")
	set.IntVar(&f.uiPort, "ui-port", 8233, "port of Temporal's Web UI (0: a free one)")
	set.IntVar(&f.httpPort, "http-port", 0, "port of Temporal's HTTP API (0: a free one)")
	set.IntVar(&f.apiPort, "api-port", 7244, "port of wflo's API (0: a free one)")
	set.StringVar(&f.dataDir, "data-dir", cli.DefaultDataDir(), "directory of the database and the approver key")
	set.BoolVar(&f.ephemeral, "ephemeral", false, "keep runs in memory only; the approver key stays")
	set.BoolVar(&f.stock, "stock", false, "Temporal's own dev-server settings, to compare with")
	set.StringVar(&f.readyFile, "ready-file", "", "write the addresses to this file, as JSON, when all is up")
	set.StringVar(&f.watch, "watch", "", "also build and run the worker in DIR/worker, and again when its code changes")
	set.StringVar(&f.logLevel, "log-level", "warn", "log to standard error: debug, info, warn or error")
	return cmd
}

func run(cmd *cobra.Command, cfg Config, f flags) error {
	ctx := cmd.Context()
	logger, serverLevel, err := newLogger(cmd, f.logLevel)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(f.ip); ip != nil && !ip.IsLoopback() {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s is not loopback; whoever reaches it can start and decide everything\n", f.ip)
	}
	conf := devserver.Config{
		DataDir: f.dataDir, IP: f.ip, Port: f.port, UIPort: f.uiPort, HTTPPort: f.httpPort,
		Namespace: inherited(cmd, "namespace"), Logger: logger, LogLevel: serverLevel, Stock: f.stock,
	}
	if f.ephemeral {
		conf.DataDir = ""
	}
	if f.watch != "" {
		if err := checkWatched(f.watch); err != nil {
			return err
		}
	}
	if err := clearReady(f.readyFile); err != nil {
		return err
	}
	codec, err := openCodec(f.ip, logger)
	if err != nil {
		return err
	}
	defer codec.stop()
	conf.CodecEndpoint = codec.url()
	server, err := devserver.Start(ctx, conf)
	if err != nil {
		return stopped(ctx, err)
	}
	defer server.Stop()
	codec.allow(server.UIURL())
	r := report{
		Address: server.HostPort(), Namespace: server.Namespace(), UI: server.UIURL(), HTTP: server.HTTPURL(),
		Database: server.File(), Server: devserver.Version(), PID: os.Getpid(),
	}
	codec.announce(&r)
	key, err := approverKey(f.dataDir)
	if err != nil {
		return err
	}
	if cfg.StartWorker != nil {
		stop, err := cfg.StartWorker(ctx, Info{
			HostPort: server.HostPort(), Namespace: server.Namespace(), UIURL: server.UIURL(),
			IP: f.ip, APIPort: f.apiPort, DataDir: f.dataDir, Ephemeral: f.ephemeral,
			Configured: true, Approver: key, Logger: logger, Announce: r.announce,
		})
		if err != nil {
			return stopped(ctx, fmt.Errorf("start the worker: %w", err))
		}
		defer stop()
	} else {
		r.announce("Worker", "none; start your own on task queue "+cli.DefaultTaskQueue)
	}
	if err := r.publish(cmd, cfg.Next, f.readyFile); err != nil {
		return err
	}
	if f.readyFile != "" {
		defer func() {
			if err := os.Remove(f.readyFile); err != nil {
				logger.Warn("remove the ready file", "error", err)
			}
		}()
	}
	err = watch(ctx, cmd.ErrOrStderr(), f, r, key)
	fmt.Fprintln(cmd.ErrOrStderr(), "stopping")
	return err
}

// watch runs the worker of a project beside the server until ctx ends; without --watch
// it only waits.
func watch(ctx context.Context, out io.Writer, f flags, r report, key approver.Key) error {
	if f.watch == "" {
		<-ctx.Done()
		return nil
	}
	data, err := filepath.Abs(f.dataDir) // the worker runs in another directory
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	w := &watcher{dir: f.watch, out: out, env: []string{
		"WFLO_DEV=1", "TEMPORAL_ADDRESS=" + r.Address, "TEMPORAL_NAMESPACE=" + r.Namespace,
		"WFLO_DATA_DIR=" + data, "WFLO_APPROVER_KEYS=" + key.Name + "=" + key.Public(),
	}}
	return w.run(ctx)
}

// clearReady removes the file of a predecessor that was killed: a reader would
// take its addresses for ours.
func clearReady(file string) error {
	if file == "" {
		return nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cli.Usage("name a file that may be written", "--ready-file: %w", err)
	}
	return nil
}

// inherited reads a flag of the root command, or "" when there is none.
func inherited(cmd *cobra.Command, name string) string {
	if flag := cmd.Flag(name); flag != nil {
		return flag.Value.String()
	}
	return ""
}

// stopped hides the error of a start that was interrupted: that is no failure.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func approverKey(dir string) (approver.Key, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return approver.Key{}, fmt.Errorf("data directory: %w", err)
	}
	return approver.Ensure(dir)
}

// newLogger logs at the level that was asked for. The Temporal server is far
// more talkative than we are, so it follows only an explicit wish.
func newLogger(cmd *cobra.Command, name string) (*slog.Logger, slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, 0, cli.Usage("use debug, info, warn or error", "--log-level is %q", name)
	}
	server := slog.LevelError
	if cmd.Flags().Changed("log-level") {
		server = level
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), server, nil
}

// report is what is up: printed for people, as JSON for scripts and tests.
type report struct {
	Address   string `json:"address"`
	Namespace string `json:"namespace"`
	UI        string `json:"ui"`
	HTTP      string `json:"http"`
	Database  string `json:"database,omitempty"` // empty: in memory
	Server    string `json:"server"`
	PID       int    `json:"pid"`
	// More holds what the worker announced.
	More []pair `json:"more,omitempty"`
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (r *report) announce(name, value string) { r.More = append(r.More, pair{name, value}) }

func (r *report) publish(cmd *cobra.Command, next, readyFile string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode addresses: %w", err)
	}
	data = append(data, '\n')
	if format := inherited(cmd, "output"); format != "" && format != "text" {
		if _, err := cmd.OutOrStdout().Write(data); err != nil {
			return err
		}
	} else if err := r.print(cmd.OutOrStdout(), next); err != nil {
		return err
	}
	if readyFile == "" {
		return nil
	}
	// A reader must never see half of it.
	draft := readyFile + ".new"
	if err := os.WriteFile(draft, data, 0o600); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	if err := os.Rename(draft, readyFile); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}

func (r *report) print(out io.Writer, next string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Temporal\t%s (server %s, namespace %s)\n", r.Address, r.Server, r.Namespace)
	fmt.Fprintf(w, "Temporal UI\t%s\n", r.UI)
	if r.Database == "" {
		fmt.Fprintln(w, "Data\tin memory")
	} else {
		fmt.Fprintf(w, "Data\t%s\n", r.Database)
	}
	for _, p := range r.More {
		fmt.Fprintf(w, "%s\t%s\n", p.Name, p.Value)
	}
	if next != "" {
		fmt.Fprintf(w, "\nNext: %s\n", next)
	}
	return w.Flush()
}

// Package payloadcmd is the command `wflo payloads`: it looks after the blobs in which
// large payloads of runs are kept. A program makes the command with [Command].
//
// It refuses to delete what it does not know to be needless: package claims does the work.
package payloadcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/internal/claims"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/internal/connect"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/objectstore/s3"
	"github.com/wflo-ai/wflo-go/plugin"
)

// dialTimeout bounds the first connection to Temporal.
const dialTimeout = 30 * time.Second

// Command makes `wflo payloads`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "payloads", Short: "Look after the large payloads of runs",
		Long: "Payloads above 128 KiB are kept beside the histories, which refer to them, and so are\nconversations of agents: in a folder of the workers, or in a bucket that they share.",
	}
	cmd.AddCommand(cleanCommand())
	return cmd
}

type flags struct {
	keep time.Duration
	only []string
	dry  bool
}

func cleanCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Delete large payloads that no run needs any more",
		Long: `Delete large payloads and conversations of agents that were stored longer ago than
--keep, and that neither an open run, nor a closed one that the server still has, nor
a schedule refers to. Histories are read for that; where one cannot be, nothing is
deleted. It may run next to workers, as a job of every night.

The payloads are where the workers keep them: WFLO_PAYLOAD_STORE, payloads.store of
WFLO_CONFIG, or blobs below WFLO_DATA_DIR. It takes the workers' payload keys.
Runs of all namespaces of the server count. Where the server does not list them, as in
Temporal Cloud, name those whose workers keep payloads there with --only.`,
		Example: "  wflo payloads clean --dry-run\n  wflo payloads clean --keep 1440h --only agents",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return clean(cmd, f) },
	}
	cmd.Flags().DurationVar(&f.keep, "keep", claims.DefaultKeep, "keep all that was stored within this time; at least 24h")
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "the namespaces whose workers use the store (default: all of the server)")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "only say what would be deleted")
	return cmd
}

func clean(cmd *cobra.Command, f flags) error {
	if err := plugin.SecretsFromFiles(); err != nil {
		return err
	}
	blobs, done, err := store(cmd.Context())
	if err != nil {
		return err
	}
	defer done()
	c, err := dial(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	namespaces := f.only
	if len(namespaces) == 0 {
		if namespaces, err = all(cmd.Context(), c.WorkflowService()); err != nil {
			return err
		}
	}
	report, err := claims.Clean(cmd.Context(), claims.Config{Service: c.WorkflowService(), Namespaces: namespaces, Blobs: blobs, Keep: f.keep, DryRun: f.dry})
	if err != nil {
		return err
	}
	return tell(cmd, report, f.dry)
}

func tell(cmd *cobra.Command, r claims.Report, dry bool) error {
	if cli.AsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
	}
	did := "deleted"
	if dry {
		did = "would delete"
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %d large payloads of %d bytes; %d old ones are needed (%d runs and %d schedules looked at, %d histories read)\n",
		did, r.Deleted, r.Freed, r.Needed, r.Runs, r.Schedules, r.Read)
	return err
}

// store opens where workers with this environment keep large payloads. One that is not
// there is not made: it would be the wrong one.
func store(ctx context.Context) (activities.BlobStore, func(), error) {
	var f config.File
	if path := os.Getenv("WFLO_CONFIG"); path != "" {
		var err error
		if f, err = config.Load(path); err != nil {
			return nil, nil, err
		}
	}
	place := cmp.Or(os.Getenv("WFLO_PAYLOAD_STORE"), f.Payloads.Store)
	if place == "" {
		place = filepath.Join(cmp.Or(os.Getenv("WFLO_DATA_DIR"), cli.DefaultDataDir()), "blobs")
	}
	if place == f.Snapshots.Store {
		return nil, nil, wflo.Invalid("payloads.store", "is where the snapshots are", "give large payloads a place of their own")
	}
	if strings.HasPrefix(place, "s3://") {
		s, err := s3.Open(ctx, s3.Config{URL: place})
		if err != nil {
			return nil, nil, err
		}
		return s, func() { _ = s.Close() }, nil
	}
	if _, err := os.Stat(place); err != nil {
		return nil, nil, wflo.Errorf(wflo.CodeInvalid, "name it as the workers do, with WFLO_PAYLOAD_STORE or WFLO_DATA_DIR", "there are no large payloads: %w", err)
	}
	s, err := file.Open(file.Config{Dir: place})
	if err != nil {
		return nil, nil, err
	}
	return s, func() { _ = s.Close() }, nil
}

// dial connects with the payload keys and without a store: what is read are the claims.
func dial(cmd *cobra.Command) (client.Client, error) {
	opts, err := cli.TemporalOptions(cmd)
	if err != nil {
		return nil, err
	}
	opts.Logger = log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	codec, err := plugin.PayloadCodec(nil)
	if err != nil {
		return nil, err
	}
	codec.Configure(&opts)
	ctx, cancel := context.WithTimeout(cmd.Context(), dialTimeout)
	defer cancel()
	c, err := client.DialContext(ctx, opts)
	return c, connect.Explain(ctx, err, opts)
}

// all are the namespaces of a server but its own.
func all(ctx context.Context, service workflowservice.WorkflowServiceClient) (names []string, err error) {
	req := &workflowservice.ListNamespacesRequest{PageSize: 100}
	for {
		reply, err := service.ListNamespaces(ctx, req)
		var denied *serviceerror.PermissionDenied
		var unknown *serviceerror.Unimplemented
		if errors.As(err, &denied) || errors.As(err, &unknown) {
			return nil, cli.Usage("name those whose workers use the store: --only NAMESPACE,NAMESPACE", "the server does not list its namespaces")
		}
		if err != nil {
			return nil, fmt.Errorf("list namespaces: %w", err)
		}
		for _, n := range reply.GetNamespaces() {
			if name := n.GetNamespaceInfo().GetName(); name != "temporal-system" && n.GetNamespaceInfo().GetState() != enumspb.NAMESPACE_STATE_DELETED {
				names = append(names, name)
			}
		}
		if req.NextPageToken = reply.GetNextPageToken(); len(req.NextPageToken) == 0 {
			return names, nil
		}
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/doctor"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

func (a *app) doctorCmd() *cobra.Command {
	var only []string
	var queue string
	// The names of the checks, for help and completion; none of them is run.
	about := doctor.Checks(context.Background(), doctor.Config{})
	var lines strings.Builder
	names := make([]string, 0, len(about))
	for _, c := range about {
		names = append(names, c.Name)
		fmt.Fprintf(&lines, "  %-11s %s\n", c.Name, c.About)
	}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with this installation, and how to mend it",
		Long: `Examine this installation. When all is well, nothing is printed and the exit code is
0; else each fault is a line on standard error with the command that mends it, and
the exit code is 1. -o json lists everything that was looked at.

It needs no shell, so it is also the health check of a container:

  HEALTHCHECK CMD ["wflo", "doctor", "--check", "temporal,worker"]

What it looks at:

` + lines.String(),
		Example: "  wflo doctor\n  wflo doctor --check engine,disk\n  wflo doctor -o json --jq '.[] | select(.state != \"ok\")'",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range only {
				if err := oneOf("--check", name, names...); err != nil {
					return err
				}
			}
			return a.doctor(cmd.Context(), only, queue)
		},
	}
	cmd.Flags().StringSliceVar(&only, "check", nil, "only these checks")
	cmd.Flags().StringVar(&queue, "task-queue", a.deps.TaskQueue, "the task queue that a worker should poll")
	fixed(cmd, "check", names)
	return cmd
}

func (a *app) doctor(ctx context.Context, only []string, queue string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := doctor.Checks(ctx, a.installation(queue))
	chosen := all[:0:0]
	for _, c := range all {
		if len(only) == 0 || slices.Contains(only, c.Name) {
			chosen = append(chosen, c)
		}
	}
	found := doctor.Run(ctx, chosen)
	if err := ctx.Err(); err != nil {
		return err
	}
	faults := 0
	for _, f := range found {
		if f.State != doctor.Fault {
			continue
		}
		faults++
		if a.format == formatText {
			a.note("%s: %s", f.Check, escapeLine(f.Detail))
			a.note("  fix: %s", escapeLine(f.Fix))
		}
	}
	if a.format != formatText {
		if err := printAll(a, found, nil, nil); err != nil {
			return err
		}
	}
	if faults > 0 {
		return told(ExitError)
	}
	return nil
}

// installation is what the doctor examines: what this command line is set up for.
func (a *app) installation(queue string) doctor.Config {
	dataDir := os.Getenv("WFLO_DATA_DIR")
	if dataDir == "" {
		dataDir = DefaultDataDir()
	}
	return doctor.Config{
		Dial: func(ctx context.Context) (doctor.Temporal, error) {
			c, err := a.dial(ctx)
			if err != nil {
				return doctor.Temporal{}, err
			}
			return doctor.Temporal{Client: c.Client, Address: c.address, Namespace: c.namespace}, nil
		},
		TaskQueue: queue,
		API:       a.tryAPI,
		Health:    a.tryHealth,
		Versions:  a.tryVersions,
		Defences:  a.tryEngine,
		DataDir:   dataDir,
		Keys:      a.keyFiles(dataDir),
		Version:   a.version(),
		Parts:     a.deps.Parts,
	}
}

// tryAPI asks the API who this is.
func (a *app) tryAPI(ctx context.Context) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	var me console.Whoami
	return c.get(ctx, "/whoami", nil, &me)
}

// tryVersions asks the API what it is made of.
func (a *app) tryVersions(ctx context.Context) (v console.Version, err error) {
	c, err := a.api()
	if err != nil {
		return v, err
	}
	if err = c.get(ctx, "/version", nil, &v); errors.Is(err, errNoPath) {
		err = doctor.ErrOldAPI
	}
	return v, err
}

// tryHealth asks the API whether it is well. Anybody may ask that, so no key is sent.
func (a *app) tryHealth(ctx context.Context) error {
	c, err := a.openAPI()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask whether the API is well: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreached(ctx, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return wflo.Errorf("", "look at the log of that program, and whether Temporal answers", "the API at %s is not well: %s", c.base, resp.Status)
	}
	return nil
}

func (a *app) tryEngine(ctx context.Context) (list []docker.Defence, err error) {
	owner, err := a.sandboxOwner(ownerFlags{})
	if err != nil {
		return nil, err
	}
	err = a.withSandboxes(ctx, owner, docker.Config{}, func(boxes Sandboxes) (err error) {
		list, err = boxes.Defences(ctx)
		return err
	})
	return list, err
}

// keyFiles are the files on this machine that hold keys: those that the environment
// names, that of wflo dev, those that wflo login wrote, and the files of secrets.
func (a *app) keyFiles(dataDir string) []string {
	var files []string
	for _, name := range []string{os.Getenv("WFLO_APPROVER_KEY"), os.Getenv("WFLO_TOKEN_FILE"), filepath.Join(dataDir, approver.FileName), os.Getenv("WFLO_SECRETS_DIR")} {
		if name != "" {
			files = append(files, name)
		}
	}
	login, err := loginFile(DefaultAPI)
	if err != nil {
		return files // without a home nobody has logged in
	}
	for _, dir := range []string{filepath.Dir(login), os.Getenv("WFLO_SECRETS_DIR")} {
		entries, err := os.ReadDir(dir)
		if dir == "" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, e := range entries {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

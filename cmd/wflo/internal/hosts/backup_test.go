//go:build integration

package hosts

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// site is an installation that can be lost: servers, files and keys.
type site struct {
	t                           *testing.T
	dir                         string
	database                    *pgtest.Server
	url                         string
	temporal                    *temporal
	worker                      *clitest.Program
	data, keys, checkpoints, db string
	env                         []string
}

const backupQueue = "backup"

// newSite has a database and no more.
func newSite(t *testing.T, model []string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.data, s.keys, s.checkpoints, s.db = filepath.Join(s.dir, "data"), filepath.Join(s.dir, "keys"), filepath.Join(s.dir, "checkpoints"), filepath.Join(s.dir, "temporal.db")
	var err error
	if s.database, err = pgtest.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.database.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.url = s.database.Database(t)
	s.env = append([]string{"WFLO_DATABASE=" + s.url, "WFLO_DATA_DIR=" + s.data, "WFLO_CONFIG=" + filepath.Join(s.keys, "wflo.yaml"), "KEYS=" + s.keys,
		"CHECKPOINTS=" + s.checkpoints}, model...)
	return s
}

// furnish makes the keys and the configuration of a site that is not restored.
func (s *site) furnish() {
	s.t.Helper()
	for _, dir := range []string{s.data, s.keys, s.checkpoints} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	for name, text := range map[string]string{
		"blobs":     "2026:" + base64.StdEncoding.EncodeToString(secret),
		"wflo.yaml": "snapshots:\n  keys: {env: WFLO_BLOB_KEYS}\n",
	} {
		if err := os.WriteFile(filepath.Join(s.keys, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// start starts Temporal, and a worker if it is asked for.
func (s *site) start(withWorker bool) client.Client {
	s.t.Helper()
	if s.temporal == nil {
		s.temporal = startTemporal(s.t, s.db)
	}
	if withWorker {
		key, err := os.ReadFile(filepath.Join(s.keys, "blobs"))
		if err != nil {
			s.t.Fatal(err)
		}
		s.env = append(s.env, "WFLO_BLOB_KEYS="+string(key), "TEMPORAL_ADDRESS="+s.temporal.address)
		s.worker = s.temporal.worker(s.t, backupQueue, s.data, s.env...)
	}
	return s.temporal.dial(s.t)
}

// saveTemporal stops Temporal in good order and copies its file.
func (s *site) saveTemporal(to string) {
	s.t.Helper()
	s.temporal.Signal(syscall.SIGTERM)
	<-s.temporal.Ended()
	s.temporal = nil
	names, err := filepath.Glob(s.db + "*")
	if err != nil || len(names) == 0 {
		s.t.Fatalf("Temporal has no file: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), data, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// run runs the commands below a heading of the guide.
func (s *site) run(heading, backup string, only ...string) {
	s.t.Helper()
	guide, err := os.ReadFile(filepath.Join(root(s.t), "docs", "backup.md"))
	if err != nil {
		s.t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(guide), "\n## "+heading+"\n")
	_, text, found := strings.Cut(text, "```sh\n")
	text, _, whole := strings.Cut(text, "```")
	if !ok || !found || !whole {
		s.t.Fatalf("the guide has no commands under %q", heading)
	}
	cmd := exec.Command("sh", "-e", "-c", text)
	cmd.Env = append(clitest.Environment(s.dir, s.env...), "BACKUP="+backup)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", heading, err, out)
	}
	for _, name := range only {
		if _, err := os.Stat(filepath.Join(backup, name)); err != nil {
			s.t.Error(err)
		}
	}
}

// lose kills everything at once.
func (s *site) lose() {
	s.t.Helper()
	s.worker.Kill()
	if s.temporal != nil {
		s.temporal.Kill()
	}
	if err := s.database.Kill(); err != nil {
		s.t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { // before the server's own end, which expects one that runs
		if err := s.database.Again(); err != nil {
			s.t.Error(err)
		}
	})
}

// restored is a new site with what a backup has.
func restored(t *testing.T, model []string, backup string, verified int) (*site, client.Client) {
	t.Helper()
	s := newSite(t, model)
	s.run("Restore", backup)
	names, err := filepath.Glob(filepath.Join(backup, "temporal.db*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(s.dir, filepath.Base(name)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := s.start(true)
	s.look(backup, verified)
	return s, c
}

// wflo runs a command of wflo against the site.
func (s *site) wflo(code int, argv ...string) {
	s.t.Helper()
	program := os.Getenv("WFLO_BIN")
	if program == "" {
		program = filepath.Join(root(s.t), "bin", "wflo")
	}
	clitest.Start(s.t, clitest.Environment(s.dir, s.env...), append([]string{program}, argv...)...).Want(s.t, code)
}

// unsure is how a verification ends that lacks the keys of checkpoints, where there are
// records; that something is missing or changed would be 20.
const unsure = 21

// look examines a site with what the guide names.
func (s *site) look(backup string, verified int) {
	s.t.Helper()
	s.wflo(0, "doctor", "--check", "temporal,database,audit,snapshots,worker", "--task-queue", backupQueue)
	s.wflo(verified, "audit", "verify", "--database", s.url, "--checkpoints", filepath.Join(backup, "checkpoints"))
}

// costs are the books of a run.
func (s *site) costs(run client.WorkflowRun) wflo.CostRow {
	s.t.Helper()
	l, err := postgres.Open(s.t.Context(), postgres.Config{URL: s.url})
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	rows, err := l.Costs(s.t.Context(), wflo.CostQuery{Scopes: []string{wflo.RunBudgetID(run.GetID() + "/" + run.GetRunID())}})
	if err != nil || len(rows) != 1 {
		s.t.Fatalf("the books of %s: %+v, %v", run.GetID(), rows, err)
	}
	return rows[0]
}

func ask(t *testing.T, c client.Client, id string) client.WorkflowRun {
	t.Helper()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: backupQueue}, askingName, id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// heard counts the calls of a model with a text.
func heard(s *scripted.Server, text string) (n int) {
	for _, c := range s.Calls() {
		if c.Turn.Messages[0].Text == text {
			n++
		}
	}
	return n
}

// finish lets a run go on and wants its end.
func finish(t *testing.T, c client.Client, run client.WorkflowRun) {
	t.Helper()
	signal(t, c, run, "go", nil)
	var said []string
	if err := run.Get(t.Context(), &said); err != nil || len(said) != 2 {
		t.Errorf("%s said %q, %v", run.GetID(), said, err)
	}
}

// again is a run as another client sees it.
func again(t *testing.T, c client.Client, run client.WorkflowRun) client.WorkflowRun {
	t.Helper()
	return c.GetWorkflow(t.Context(), run.GetID(), run.GetRunID())
}

// TestBackup: Temporal's database is saved first and wflo's after it, as the guide says.
// What was paid between the two is not paid again, and a call that was under way is
// listed as unknown.
func TestBackup(t *testing.T) {
	t.Parallel()
	model, env, hangs := slowVendor(t)
	backup := t.TempDir()
	s := newSite(t, env)
	s.furnish()
	c := s.start(false)
	kept, hanging := ask(t, c, "kept"), ask(t, c, "hanging")
	s.saveTemporal(backup)

	s.start(true)
	clitest.Await(t, "the snapshot of a run", func() bool {
		return len(snapshots(t, s.url, kept)) == 1
	})
	<-hangs
	s.run("Save", backup, "wflo.dump", "data.tar.gz", "keys/blobs", "checkpoints")
	s.lose()

	s, c = restored(t, env, backup, unsure)
	finish(t, c, again(t, c, kept))
	if n := heard(model, "before kept"); n != 1 {
		t.Errorf("what was paid was asked %d times", n)
	}
	if got := s.costs(kept); got.Calls != 2 || got.Unknown != 0 {
		t.Errorf("the books of the run that was kept: %+v", got)
	}
	finish(t, c, again(t, c, hanging))
	if got := s.costs(hanging); got.Calls != 3 || got.Unknown <= 0 || heard(model, "before hanging") != 2 {
		t.Errorf("the books of the run with a call under way: %+v, asked %d times", got, heard(model, "before hanging"))
	}
	// The blobs are there, and what opens them: a run begins with what was saved.
	back := recovery.New(recovery.Config{Client: c, TaskQueue: backupQueue})
	if _, err := back.Do(t.Context(), wflo.Restore{ID: recovery.NewID(), WorkflowID: "kept", To: wflo.RestorePoint{Snapshot: "base"}, Mode: wflo.RestoreFork,
		NewID: "twin", By: "ann", Reason: "to see that it works"}); err != nil {
		t.Fatal(err)
	}
	finish(t, c, c.GetWorkflow(t.Context(), "twin", ""))
	if n := heard(model, "before kept"); n != 1 {
		t.Errorf("a fork asked again what was answered: %d", n)
	}
}

// TestBackupTheOtherWayRound: wflo's database is the older one. Runs go on and repeat
// nothing; what they had paid meanwhile is missing from the books.
func TestBackupTheOtherWayRound(t *testing.T) {
	t.Parallel()
	model, env, _ := slowVendor(t)
	backup := t.TempDir()
	s := newSite(t, env)
	s.furnish()
	if l, err := postgres.Open(t.Context(), postgres.Config{URL: s.url}); err != nil {
		t.Fatal(err)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.run("Save", backup)
	c := s.start(true)
	kept := ask(t, c, "kept")
	clitest.Await(t, "the end of a call", func() bool {
		return happened(t, c, kept, enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED) != "" && len(snapshots(t, s.url, kept)) == 1
	})
	s.saveTemporal(backup)
	s.lose()

	s, c = restored(t, env, backup, 0) // there were no records yet
	finish(t, c, again(t, c, kept))
	if n := heard(model, "before kept"); n != 1 {
		t.Errorf("what was paid was asked %d times", n)
	}
	if got := s.costs(kept); got.Calls != 1 {
		t.Errorf("the books: %+v; want the call of after the restore alone", got)
	}
}

func snapshots(t *testing.T, url string, run client.WorkflowRun) (ids []string) {
	t.Helper()
	l, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all, err := l.Recovery().ListSnapshots(t.Context(), activities.SnapshotQuery{WorkflowID: run.GetID(), FirstRunID: run.GetRunID()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

//go:build integration

package survive

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/survive/invariant"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// world is one installation: a database, a queue and an owner of its own, on servers that
// it may share.
type world struct {
	*servers
	t        *testing.T
	id       string
	database string
	dir      string
	vendor   *scripted.Server
	shop     *shop
	receiver *receiver
	env      []string
	secrets  map[string]string
	grace    time.Duration // see invariant.World
	clocks   time.Duration // see invariant.World
	engine   string        // where containers are; empty is where everybody's are
	// patience is how long an agent that meets faults may take. Each fault that kills a worker
	// costs it 15 seconds on a machine with nothing else to do: until then Temporal waits for
	// the activity.
	patience time.Duration
	blobs    func(context.Context, string) ([]byte, error)

	mu      sync.Mutex
	workers []*clitest.Program // all that there were
	api     string             // of the one that was started last
	goCount string             // where that one tells how many goroutines it has
	host    string             // what workers call the engine that they put sandboxes on; empty: they know of none but theirs
	orgs    map[string]string
}

func newWorld(t *testing.T, s *servers) *world {
	t.Helper()
	w := &world{
		servers: s, t: t, id: unique("survive"), dir: t.TempDir(), database: s.pg.Database(t), shop: newShop(t), receiver: newReceiver(t),
		secrets: map[string]string{"key of the vendor": unique("canary-vendor-key"), "password of MinIO": minioSecret},
		orgs:    map[string]string{}, blobs: s.blob(t), grace: unclaimed, patience: 8 * time.Minute,
	}
	w.vendor = vendor(t, w.secrets["key of the vendor"])
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	hook := []byte(unique("canary-webhook-secret-of-the-receiver"))
	w.secrets["secret of the webhook"], w.secrets["key of the desk"] = base64.StdEncoding.EncodeToString(hook), base64.StdEncoding.EncodeToString(private)
	config := fmt.Sprintf(`approvals:
  keys: {%s: %q}
snapshots: {store: %q}
channels:
  %s: {url: {env: RECEIVER_URL}, secrets: [{env: RECEIVER_SECRET}], allow_http: true, allow_networks: [127.0.0.0/8], timeout: 5s}
`, signer, base64.StdEncoding.EncodeToString(public), s.bucket, receiverName)
	path := filepath.Join(w.dir, "wflo.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, w.id) })
	w.env = clitest.Environment(w.dir, "WFLO_CONFIG="+path, "WFLO_DATABASE="+w.database+"&pool_max_conns=4", "WFLO_DATA_DIR="+filepath.Join(w.dir, "data"),
		"TEMPORAL_ADDRESS="+s.address, "WFLO_PAYLOAD_STORE="+s.payloads, "WFLO_OWNER="+w.id, "WFLO_SANDBOX_POOL=-1", "WFLO_REDIS_URL="+s.redisURL, "WFLO_CACHE_TTL=1h",
		"OPENAI_API_KEY="+w.secrets["key of the vendor"], "OPENAI_BASE_URL="+w.vendor.BaseURL(scripted.OpenAI),
		"MINIO_ROOT_USER="+minioUser, "MINIO_ROOT_PASSWORD="+minioSecret, "AWS_ACCESS_KEY_ID="+minioUser, "AWS_SECRET_ACCESS_KEY="+minioSecret,
		"RECEIVER_URL="+w.receiver.URL, "RECEIVER_SECRET=whsec_"+w.secrets["secret of the webhook"],
		envQueue+"="+w.id, envShop+"="+w.shop.URL, envKey+"="+w.secrets["key of the desk"])
	return w
}

// worker starts a worker that breaks as planned.
func (w *world) worker(plan []breaking) *clitest.Program {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	env := append(slices.Clone(w.env), envPlan+"="+string(text), envNotes+"="+w.notes())
	if w.host != "" {
		env = append(env, "WFLO_SANDBOX_HOSTS="+w.host+"="+everybodys)
	}
	p := clitest.Start(w.t, env, self)
	w.workers = append(w.workers, p)
	w.api, w.goCount = "", ""
	return p
}

func (w *world) notes() string { return filepath.Join(w.dir, "notes") }

// addresses gives the API of the worker that was started last, and its count of
// goroutines; empty while there is none.
func (w *world) addresses() (api, goroutines string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.api == "" && len(w.workers) > 0 {
		if _, rest, ok := strings.Cut(w.workers[len(w.workers)-1].Out.String(), "worker started "); ok {
			if fields := strings.Fields(rest); len(fields) > 2 {
				w.api, w.goCount = fields[0], fields[2]
			}
		}
	}
	return w.api, w.goCount
}

// start starts an agent; a server may be away for a while.
func (w *world) start(o order, n int) (id string) {
	w.t.Helper()
	id = fmt.Sprintf("%s-%s-%d", w.id, o.Kind, n)
	org := "acme"
	if n%2 == 1 {
		org = "books"
	}
	w.mu.Lock()
	w.orgs[id] = org
	w.mu.Unlock()
	ctx := wflo.WithRun(w.t.Context(), wflo.Run{User: "bob", Org: org, Team: "t", Budget: wflo.Budget{Limit: wflo.USD / 100, Thresholds: []int{1}}})
	await(w.t, "the start of "+id, func() bool {
		_, err := w.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: w.id, WorkflowTaskTimeout: 3 * time.Second}, agentName, o)
		var there *serviceerror.WorkflowExecutionAlreadyStarted
		if err != nil && !errors.As(err, &there) && !away(err) && !strings.Contains(err.Error(), "no mapping defined") {
			w.t.Fatal(err)
		}
		return err == nil || errors.As(err, &there)
	})
	return id
}

// away says that an error is of a server that is not there, too slow, or too busy.
func away(err error) bool {
	var unavailable *serviceerror.Unavailable
	var late *serviceerror.DeadlineExceeded
	var busy *serviceerror.ResourceExhausted
	return errors.As(err, &unavailable) || errors.As(err, &busy) || errors.As(err, &late) || errors.Is(err, context.DeadlineExceeded)
}

// decide approves over the API what waits, until ctx ends. What fails is tried again.
func (w *world) decide(ctx context.Context) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		api, _ := w.addresses()
		if api == "" {
			continue
		}
		var list []wflo.Gate
		if w.ask(ctx, http.MethodGet, api+"/api/v1/approvals", nil, &list) != nil {
			continue
		}
		for _, g := range list {
			body, _ := json.Marshal(map[string]string{"verdict": "approve", "digest": g.Digest, "reason": "fine"}) // no field can fail
			_ = w.ask(ctx, http.MethodPost, api+"/api/v1/approvals/"+g.Nonce+"/decisions", body, nil)
		}
	}
}

// ask sends one request to the API, as ann.
func (w *world) ask(ctx context.Context, method, url string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Wflo-User", "ann")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// ended waits for the end of an agent, and checks that it is the one of its kind.
func (w *world) ended(id string, k kind) {
	w.t.Helper()
	var err error
	var ended *temporal.WorkflowExecutionError
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(w.patience); ; <-tick.C {
		ctx, cancel := context.WithDeadline(w.t.Context(), end)
		err = w.client.GetWorkflow(ctx, id, "").Get(ctx, nil)
		cancel()
		// Every other error is of a server that is away, busy or just back, and says nothing of
		// the agent.
		if err == nil || errors.As(err, &ended) || !time.Now().Before(end) {
			break
		}
	}
	if k == undoes && (err == nil || !strings.Contains(err.Error(), errBad.Error())) || k != undoes && err != nil {
		w.t.Errorf("the agent %s ended with %v", id, err)
	}
}

// look has the auditor look at the world.
func (w *world) look(ctx context.Context, counts ...invariant.Count) (*invariant.Report, error) {
	db, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return nil, err
	}
	defer db.Close(context.WithoutCancel(ctx))
	said := map[string]string{}
	w.mu.Lock()
	for i, p := range w.workers {
		said[fmt.Sprint("the log of worker ", i+1)] = p.Said()
	}
	orgs := map[string]string{}
	for id, org := range w.orgs {
		orgs[id] = org
	}
	w.mu.Unlock()
	var bodies strings.Builder
	for _, d := range w.receiver.deliveries() {
		bodies.WriteString(d.Body + "\n")
	}
	said["notices"] = bodies.String()
	return invariant.Check(ctx, invariant.World{
		DB: db, Quiet: true, Invoices: invoices(w.vendor), Rates: rates, Effects: w.shop.effects(), Guarded: []string{"pay"},
		Deliveries: w.receiver.deliveries(), Owner: w.id, Engine: w.engine, Grace: w.grace, Clocks: w.clocks, Temporal: w.client, Namespace: "default", Runs: []string{w.id}, Blob: w.blobs,
		Secrets: w.secrets, Said: said, Orgs: orgs, Counts: counts,
	})
}

// settles waits until the auditor has nothing to say: the sweeps go round meanwhile. What
// it still says when its patience is over fails the test.
func (w *world) settles(within time.Duration, counts func() []invariant.Count) *invariant.Report {
	w.t.Helper()
	var r *invariant.Report
	var err error
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(within); ; <-tick.C {
		var now []invariant.Count
		if counts != nil {
			now = counts()
		}
		if r, err = w.look(w.t.Context(), now...); err == nil && len(r.Findings) == 0 {
			return r
		}
		if time.Now().After(end) {
			w.t.Errorf("after %s: %v\n%s", within, err, r)
			return r
		}
	}
}

// unclaimed is how old what a dead worker left on the engine is when others remove it; the
// soak waits for that.
const unclaimed = 6 * time.Minute

// removeAll removes what killed workers left on the engine when a test failed.
func removeAll(t *testing.T, owner string) {
	t.Helper()
	clitest.RemoveLabelled(t, "wflo.owner="+owner)
}

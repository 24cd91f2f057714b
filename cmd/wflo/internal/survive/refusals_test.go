//go:build integration

package survive

import (
	"strings"
	"sync"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// door is in front of Temporal and passes calls on as they are, but for those that it
// refuses: as a server does that has no more to give, or that is overloaded.
type door struct {
	address string
	behind  *grpc.ClientConn
	refuses func(method string, n int) refusal

	mu      sync.Mutex
	calls   map[string]int
	refused map[string]map[refusal]int
}

// refusal is what becomes of a call.
type refusal int

const (
	passes refusal = iota
	exhausted
	unavailable
	// lost is a call that was done and whose answer nobody gets.
	lost
)

// openDoor listens on this machine. refuses says what becomes of the nth call of a
// method, counted from 0.
func openDoor(t *testing.T, to string, refuses func(method string, n int) refusal) *door {
	t.Helper()
	behind, err := grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(
		grpc.ForceCodecV2(asIs{}), grpc.MaxCallRecvMsgSize(128<<20), grpc.MaxCallSendMsgSize(128<<20)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	d := &door{address: l.Addr().String(), behind: behind, refuses: refuses, calls: map[string]int{}, refused: map[string]map[refusal]int{}}
	server := grpc.NewServer(grpc.ForceServerCodecV2(asIs{}), grpc.UnknownServiceHandler(d.pass), grpc.MaxRecvMsgSize(128<<20))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
		_ = behind.Close()
	})
	return d
}

// pass is one call: each of Temporal's has one message both ways.
func (d *door) pass(_ any, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	method := path[strings.LastIndexByte(path, '/')+1:]
	var in, out []byte
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	what := d.next(method)
	switch what {
	case exhausted:
		return serviceerror.ToStatus(serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "namespace rate limit exceeded")).Err()
	case unavailable:
		return status.Error(codes.Unavailable, "the server is shutting down")
	case passes, lost:
	}
	ctx := stream.Context()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	var header metadata.MD
	if err := d.behind.Invoke(ctx, path, &in, &out, grpc.Header(&header)); err != nil {
		return err
	}
	if what == lost {
		return status.Error(codes.Unavailable, "the connection was lost")
	}
	if err := stream.SetHeader(header); err != nil {
		return err
	}
	return stream.SendMsg(&out)
}

// next decides on a call, and notes it.
func (d *door) next(method string) refusal {
	d.mu.Lock()
	defer d.mu.Unlock()
	what := d.refuses(method, d.calls[method])
	d.calls[method]++
	if d.refused[method] == nil {
		d.refused[method] = map[refusal]int{}
	}
	d.refused[method][what]++
	return what
}

// times is how often a method was refused in a way.
func (d *door) times(method string, what refusal) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused[method][what]
}

// asIs leaves messages as they travel.
type asIs struct{}

var _ encoding.CodecV2 = asIs{}

// Name implements encoding.CodecV2. It is the one under which Temporal's travel.
func (asIs) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (asIs) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// inBursts refuses calls of what agents and people need, and of nothing else: the first
// two of every ten of a method for lack of resources, the sixth is done and its answer is
// lost, and the seventh finds nobody. Of polls whose answer is lost a task is, until it
// has timed out, so that fewer of them are.
func inBursts(method string, n int) refusal {
	every := 10
	if strings.HasPrefix(method, "Poll") {
		every = 30
	}
	switch _, asked := refusable[method]; {
	case !asked:
		return passes
	case n%every < 2:
		return exhausted
	case n%every == 5:
		return lost
	case n%every == 6:
		return unavailable
	}
	return passes
}

// refusable are the calls that a run stands on. The value says that the scenario makes so
// many of them that some answers are lost, too.
var refusable = map[string]bool{
	"StartWorkflowExecution": false, "PollWorkflowTaskQueue": true, "PollActivityTaskQueue": true,
	"RespondWorkflowTaskCompleted": true, "RespondActivityTaskCompleted": true, "RespondActivityTaskFailed": false,
	"SignalWorkflowExecution": false, "UpdateWorkflowExecution": false, "QueryWorkflow": false, "DescribeWorkflowExecution": false,
	"RecordActivityTaskHeartbeat": false, "PollWorkflowExecutionUpdate": false,
}

// Temporal refuses in bursts what workers, agents and people ask of it, and loses answers
// to what it has done: all agents end as they should, and the auditor finds nothing.
func TestTemporalRefuses(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	d := openDoor(t, s.address, inBursts)
	s.address, s.client = d.address, s.dial(t, d.address)
	w := newWorld(t, s)
	r := w.play(nil)
	t.Logf("\n%s", r)
	for _, method := range []string{"StartWorkflowExecution", "UpdateWorkflowExecution"} {
		if d.times(method, exhausted) == 0 {
			t.Errorf("no %s was refused", method)
		}
	}
	for method, often := range refusable {
		t.Logf("%s: %d passed, %d refused, %d found nobody, %d answers lost", method, d.times(method, passes), d.times(method, exhausted), d.times(method, unavailable), d.times(method, lost))
		if often && (d.times(method, exhausted) == 0 || d.times(method, lost) == 0) {
			t.Errorf("%s was not refused, or no answer to it was lost", method)
		}
	}
}

// Whoever asks while Temporal refuses everything is told what to do, by every kind of
// command: one that reads, one that starts, and one that decides.
func TestCommandsThatTemporalRefuses(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	for what, refused := range map[string]struct {
		how  refusal
		says []string
	}{
		"has too much to do": {exhausted, []string{"refuses because it has too much to do", "hint: try again in a moment"}},
		"is going away":      {unavailable, []string{"no Temporal server answers at", "hint: start one with `wflo dev`"}},
	} {
		d := openDoor(t, s.address, func(string, int) refusal { return refused.how })
		dir := t.TempDir()
		env := clitest.Environment(dir, "TEMPORAL_ADDRESS="+d.address, "WFLO_DATA_DIR="+dir)
		for _, argv := range [][]string{{"status", "some-run"}, {"run", "agent", "--detach", "--model", modelName, "--prompt", "say hello"}, {"approve", "some-run", "--yes"}} {
			t.Run(what+"/"+argv[0], func(t *testing.T) {
				t.Parallel()
				clitest.Start(t, env, append([]string{tool(t, "wflo")}, argv...)...).Want(t, 1, refused.says...)
			})
		}
	}
}

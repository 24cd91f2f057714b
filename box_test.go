package wflo

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBoxValidate(t *testing.T) {
	tests := []struct {
		name  string
		box   Box
		field string // in the error; empty means valid
	}{
		{"nothing", Box{}, ""},
		{"everything", Box{
			Image: "python:3.13", Memory: 1 << 30, CPUs: 2, PIDs: 64, Timeout: time.Minute, CPUTime: time.Second,
			Workspace: 1 << 30, Output: 1 << 20, Network: []string{"api.github.com:443", "[::1]:80"},
			Secrets: map[string]string{"TOKEN": "github"}, Runtime: "runsc", Profile: "strict", Require: []string{"gvisor"},
		}, ""},
		{"open", Box{OpenNetwork: true}, ""},
		{"open and a list", Box{OpenNetwork: true, Network: []string{"a.b:1"}}, "task.sandbox.open_network"},
		{"memory", Box{Memory: 1}, "task.sandbox.memory"},
		{"negative processes", Box{PIDs: -1}, "task.sandbox.pids"},
		{"timeout", Box{Timeout: 25 * time.Hour}, "task.sandbox.timeout"},
		{"CPU time", Box{CPUTime: 1}, "task.sandbox.cpu_time"},
		{"workspace", Box{Workspace: 1}, "task.sandbox.workspace"},
		{"output", Box{Output: 1}, "task.sandbox.output"},
		{"no number of cores", Box{CPUs: math.NaN()}, "task.sandbox.cpus"},
		{"no port", Box{Network: []string{"a.b:443", "api.github.com"}}, "task.sandbox.network[1]"},
		{"port zero", Box{Network: []string{"a.b:0"}}, "task.sandbox.network[0]"},
		{"no host", Box{Network: []string{":443"}}, "task.sandbox.network[0]"},
		{"variable", Box{Secrets: map[string]string{"A B": "x"}}, "task.sandbox.secrets"},
		{"secret without a name", Box{Secrets: map[string]string{"A": ""}}, "task.sandbox.secrets"},
		{"profile", Box{Profile: "none"}, "task.sandbox.profile"},
		{"defence", Box{Require: []string{"userns", "hope"}}, "task.sandbox.require[1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Task{Model: "m", Prompt: "p", Sandbox: tt.box}.Validate()
			if tt.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), tt.field) || HintOf(err) == "" {
				t.Errorf("Validate = %v; want %s with a hint", err, tt.field)
			}
		})
	}
}

// TestBoxOnTheWire keeps a task without a sandbox as short as it was, and what
// is set readable.
func TestBoxOnTheWire(t *testing.T) {
	raw, err := json.Marshal(Task{Model: "m", Prompt: "p"})
	if err != nil || string(raw) != `{"model":"m","prompt":"p"}` {
		t.Errorf("a plain task is %s, %v", raw, err)
	}
	want := Box{PIDs: 7, Network: []string{"a.b:1"}, OpenNetwork: true, Secrets: map[string]string{"A": "b"}, Require: []string{"userns"}}
	raw, err = json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Box
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("over the wire (-want +got):\n%s", diff)
	}
}

package step_test

import (
	"encoding/json"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"

	"github.com/wflo-ai/wflo-go/internal/step"
)

// A failure holds a Go interface, which encoding/json writes and then cannot read: a
// snapshot that has one would be lost.
func TestOutcomeRoundTrip(t *testing.T) {
	in := step.Outcome{
		Seq: 7, Kind: step.OutcomeStep, Key: "g0/pay#1", At: time.Unix(1, 2).UTC(), Signals: map[string]int{"go": 2},
		Result: &commonpb.Payloads{Payloads: []*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte("1")}}},
		Failure: &failurepb.Failure{Message: "no", FailureInfo: &failurepb.Failure_ApplicationFailureInfo{
			ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: "T", NonRetryable: true},
		}},
	}
	data, err := json.Marshal([]step.Outcome{in})
	if err != nil {
		t.Fatal(err)
	}
	var out []step.Outcome
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	got := out[0]
	if got.Seq != in.Seq || got.Key != in.Key || !got.At.Equal(in.At) || got.Signals["go"] != 2 || !got.Result.Equal(in.Result) || !got.Failure.Equal(in.Failure) {
		t.Fatalf("got %+v, want %+v", got, in)
	}
}

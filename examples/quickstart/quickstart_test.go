package quickstart_test

import (
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/quickstart"
	"github.com/wflo-ai/wflo-go/wflotest"
)

func TestAnswer(t *testing.T) {
	env := wflotest.New(t, wflotest.Config{Budget: 5 * wflo.Cent})
	if err := env.Run(quickstart.Answer, "Where is my parcel?"); err != nil {
		t.Fatal(err)
	}
	var sent string
	if env.Result(&sent); sent != "echo: Where is my parcel?" || env.Gates()[0].Approval.Details != sent {
		t.Errorf("sent %q", sent)
	}
}

func TestRejected(t *testing.T) {
	reject := func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "ann", "too cold") }
	if err := wflotest.New(t, wflotest.Config{Decide: reject}).Run(quickstart.Answer, "Where?"); err == nil {
		t.Error("a rejected draft was sent")
	}
}

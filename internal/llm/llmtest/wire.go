package llmtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
	"github.com/wflo-ai/wflo-go/pricing"
)

// Counter is what each vendor's package has to read a bill from the wire.
type Counter interface {
	Add(data []byte)
	Bill() llm.Bill
}

// Reader describes how a vendor's package reads bills.
type Reader struct {
	// Provider is the name in the price book.
	Provider string
	// New makes a Counter for one response, UsageOf reads a whole one.
	New     func() Counter
	UsageOf func(raw []byte) (wflo.Usage, string, string, bool)
}

// wireBill is bill.json: what must be read from the response, and what it costs
// at the prices of the embedded book. Cost was made by hand; Sum shows how, in
// tokens times USD per million.
type wireBill struct {
	Usage      wflo.Usage `json:"usage"`
	Model      string     `json:"model"`
	Tier       string     `json:"tier"`
	ResponseID string     `json:"response_id"`
	// PricedAs is the model whose rates hold, where the response names none or
	// one that only the vendor knows.
	PricedAs string     `json:"priced_as"`
	Sum      string     `json:"sum"`
	Cost     wflo.Money `json:"cost"`
	// Refused says that the book must have no price for the model or its tier.
	Refused bool `json:"refused"`
}

// wireDay is when the calls were made.
var wireDay = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Wire reads the bills of all fixtures, with and without a driver's prompt.
func Wire(t *testing.T, r Reader) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 5 {
		t.Fatalf("%d fixtures", len(entries))
	}
	for _, e := range entries {
		if e.Name() == "fuzz" {
			continue // the fuzz targets' inputs
		}
		t.Run(e.Name(), func(t *testing.T) { wireCase(t, r, e.Name()) })
	}
}

func wireCase(t *testing.T, r Reader, name string) {
	dir := filepath.Join("testdata", name)
	var want wireBill
	decode(t, filepath.Join(dir, "bill.json"), &want)
	events := answerOf(t, dir)
	counter := r.New()
	var early []llm.Bill
	for _, data := range events {
		counter.Add(data)
		if b := counter.Bill(); b.Ended && b.OK() {
			early = append(early, b)
		}
	}
	got := counter.Bill()
	read := wireBill{Usage: got.Usage, Model: got.Model, Tier: got.Tier, ResponseID: got.ResponseID}
	expected := wireBill{Usage: want.Usage, Model: want.Model, Tier: want.Tier, ResponseID: want.ResponseID}
	if diff := cmp.Diff(expected, read); diff != "" {
		t.Errorf("bill (-want +got):\n%s", diff)
	}
	if !got.OK() || !got.Ended {
		t.Errorf("counted %v, ended %v: %v", got.Counted, got.Ended, llm.Believable(got.Usage))
	}
	for _, b := range early {
		// Whoever stops reading at the end of the answer must have it all.
		if b.Usage != got.Usage || b.Tier != got.Tier {
			t.Errorf("it seemed to be over at %+v", b)
		}
	}
	if len(events) == 1 {
		u, model, tier, ok := r.UsageOf(events[0])
		if u != got.Usage || model != got.Model || tier != got.Tier || !ok {
			t.Errorf("UsageOf = %+v, %q, %q, %v", u, model, tier, ok)
		}
	}
	sameAsDriver(t, dir, got)
	wireCost(t, r.Provider, want)
}

// answerOf is the body of a response, or the data of its events.
func answerOf(t *testing.T, dir string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "response.json"))
	if err == nil {
		return [][]byte{data}
	}
	stream, err := os.ReadFile(filepath.Join(dir, "response.sse"))
	if err != nil {
		t.Fatal(err)
	}
	var events [][]byte
	for data, err := range llm.Events(strings.NewReader(string(stream))) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, data)
	}
	return events
}

// sameAsDriver holds what is read from the wire against what the driver made of
// the same answer.
func sameAsDriver(t *testing.T, dir string, b llm.Bill) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "reply.json")); errors.Is(err, os.ErrNotExist) {
		return
	}
	var reply wflo.Reply
	decode(t, filepath.Join(dir, "reply.json"), &reply)
	if b.Model == "" {
		b.Model = reply.Model
	}
	got := wflo.Reply{Usage: b.Usage, Model: b.Model, Tier: b.Tier, ResponseID: b.ResponseID}
	want := wflo.Reply{Usage: reply.Usage, Model: reply.Model, Tier: reply.Tier, ResponseID: reply.ResponseID}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the driver and the wire differ (-driver +wire):\n%s", diff)
	}
}

func wireCost(t *testing.T, provider string, want wireBill) {
	t.Helper()
	model := want.PricedAs
	if model == "" {
		model = want.Model
	}
	price, err := pricing.Default().Find(provider, pricing.WithTier(model, want.Tier), wireDay, want.Usage.Prompt())
	if want.Refused {
		if !errors.Is(err, wflo.ErrUnknownModel) {
			t.Errorf("%s in tier %q costs %+v, %v; no price is known", model, want.Tier, price, err)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	if cost := pricing.Cost(price, want.Usage); cost != want.Cost {
		t.Errorf("cost = %v at %+v, want %v = %s", cost, price, want.Cost, want.Sum)
	}
}

package payments_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go/examples/refund/payments"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg payments.Config) *payments.Server {
	t.Helper()
	s, err := payments.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// answer is a response of the provider, whatever it is.
type answer struct {
	status   int
	repeated bool
	payments.Refund
	payments.Failure
}

func post(t *testing.T, url, key, body string) answer {
	t.Helper()
	a, err := send(t, url, key, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func send(t *testing.T, url, key, body string) (answer, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, repeated: resp.Header.Get("Idempotent-Replayed") == "true"}
	err = errors.Join(json.Unmarshal(text, &a.Failure), json.Unmarshal(text, &a.Refund))
	return a, err
}

func body(charge string, cents int) string {
	return fmt.Sprintf(`{"charge_id":%q,"amount":%d,"currency":"EUR"}`, charge, cents)
}

func TestRefund(t *testing.T) {
	s := start(t, payments.Config{Disputed: []string{"ch_bank"}})
	url := s.URL() + "/refunds"
	for _, step := range []struct {
		name, key, body string
		status          int
		id, code        string
	}{
		{"first", "k1", body("ch_1", 990), 201, "re_000001", ""},
		{"same key, same body", "k1", body("ch_1", 990), 200, "re_000001", ""},
		{"same key, other body", "k1", body("ch_1", 991), 422, "", payments.CodeKeyReused},
		{"other key, same charge", "k2", body("ch_1", 990), 409, "", payments.CodeAlreadyRefunded},
		{"disputed", "k3", body("ch_bank", 990), 409, "", payments.CodeDisputed},
		{"no key", "", body("ch_2", 990), 400, "", payments.CodeInvalid},
		{"long key", strings.Repeat("k", 256), body("ch_2", 990), 400, "", payments.CodeInvalid},
		{"no charge", "k4", body("", 990), 400, "", payments.CodeInvalid},
		{"nothing", "k4", body("ch_2", 0), 400, "", payments.CodeInvalid},
		{"negative", "k4", body("ch_2", -1), 400, "", payments.CodeInvalid},
		{"currency", "k4", `{"charge_id":"ch_2","amount":1,"currency":"euro"}`, 400, "", payments.CodeInvalid},
		{"unknown field", "k4", `{"charge_id":"ch_2","amount":1,"currency":"EUR","iban":""}`, 400, "", payments.CodeInvalid},
		{"two bodies", "k4", body("ch_2", 1) + body("ch_3", 1), 400, "", payments.CodeInvalid},
		{"no JSON", "k4", "refund", 400, "", payments.CodeInvalid},
		{"too long", "k4", `{"charge_id":"` + strings.Repeat("x", 70<<10) + `"}`, 400, "", payments.CodeInvalid},
		{"second", "k4", body("ch_2", 1), 201, "re_000002", ""},
	} {
		got := post(t, url, step.key, step.body)
		if got.status != step.status || got.ID != step.id || got.Error.Code != step.code {
			t.Errorf("%s: got %d %q %q", step.name, got.status, got.ID, got.Error.Code)
		}
		if got.repeated != (step.name == "same key, same body") {
			t.Errorf("%s: marked as repeated: %t", step.name, got.repeated)
		}
	}
	if got := len(s.Refunds()); got != 2 {
		t.Errorf("got %d refunds, want 2", got)
	}
}

func TestCancel(t *testing.T) {
	s := start(t, payments.Config{})
	url := s.URL() + "/refunds"
	made := post(t, url, "k1", body("ch_1", 990))
	for range 2 {
		if got := post(t, url+"/"+made.ID+"/cancel", "", ""); got.status != 200 || got.Status != payments.Cancelled {
			t.Errorf("got %d, %s", got.status, got.Status)
		}
	}
	if got := post(t, url+"/re_unknown/cancel", "", ""); got.status != 404 {
		t.Errorf("got %d", got.status)
	}
	// The old key still means the refund that was taken back.
	if got := post(t, url, "k1", body("ch_1", 990)); got.ID != made.ID || got.Status != payments.Cancelled {
		t.Errorf("got %s, %s", got.ID, got.Status)
	}
	if got := post(t, url, "k2", body("ch_1", 990)); got.status != 201 {
		t.Errorf("a charge whose refund was cancelled got %d", got.status)
	}
	want := []payments.Entry{
		{Op: "refund", Outcome: "done", ChargeID: "ch_1", RefundID: "re_000001", Key: "k1"},
		{Op: "cancel", Outcome: "done", ChargeID: "ch_1", RefundID: "re_000001"},
		{Op: "cancel", Outcome: "repeated", ChargeID: "ch_1", RefundID: "re_000001"},
		{Op: "cancel", Outcome: payments.CodeNotFound, RefundID: "re_unknown"},
		{Op: "refund", Outcome: "repeated", ChargeID: "ch_1", RefundID: "re_000001", Key: "k1"},
		{Op: "refund", Outcome: "done", ChargeID: "ch_1", RefundID: "re_000002", Key: "k2"},
	}
	if diff := cmp.Diff(want, s.Log()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, payments.Config{Outages: 1, LostReplies: 1})
	url := s.URL() + "/refunds"
	for _, want := range []int{503, 502, 200} {
		if got := post(t, url, "k1", body("ch_1", 990)); got.status != want {
			t.Errorf("got %d, want %d", got.status, want)
		}
	}
	if got := len(s.Refunds()); got != 1 {
		t.Errorf("got %d refunds, want 1", got)
	}
}

func TestSameKeyAtTheSameTime(t *testing.T) {
	s := start(t, payments.Config{})
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if got, err := send(t, s.URL()+"/refunds", "k1", body("ch_1", 990)); err != nil || got.ID != "re_000001" {
				t.Errorf("got %q, %v", got.ID, err)
			}
		})
	}
	wait.Wait()
	if got := s.Refunds(); len(got) != 1 {
		t.Errorf("got %d refunds, want 1", len(got))
	}
}

func TestListFilters(t *testing.T) {
	s := start(t, payments.Config{})
	post(t, s.URL()+"/refunds", "k1", body("ch_1", 1))
	post(t, s.URL()+"/refunds", "k2", body("ch_2", 2))
	for query, want := range map[string]int{"": 2, "?charge_id=ch_2": 1, "?charge_id=ch_3": 0} {
		resp, err := http.Get(s.URL() + "/refunds" + query)
		if err != nil {
			t.Fatal(err)
		}
		var got payments.List
		err = json.NewDecoder(resp.Body).Decode(&got)
		resp.Body.Close()
		if err != nil || len(got.Refunds) != want || got.Refunds == nil {
			t.Errorf("%q: got %v, %v", query, got.Refunds, err)
		}
	}
}

func TestRefusesOtherAddresses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "nowhere"} {
		if s, err := payments.Start(payments.Config{Addr: addr}); err == nil {
			s.Close()
			t.Errorf("%s: started", addr)
		}
	}
}

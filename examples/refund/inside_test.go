package refund

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

func TestCellHoldsNoMarkup(t *testing.T) {
	for in, want := range map[string]string{
		"plain words, 41 s":    "plain words, 41 s",
		"a | b\n| c |":         "a &#124; b &#124; c &#124;",
		"[pay](http://x)":      "&#91;pay&#93;&#40;http&#58;//x&#41;",
		"<b>\u202eevil`":       "&#60;b&#62; evil&#96;",
		"Grüße 😀":              "Grüße 😀",
		strings.Repeat("ä", 9): strings.Repeat("ä", 9),
	} {
		if got := cell(in); got != want {
			t.Errorf("%q gave %q, want %q", in, got, want)
		}
	}
	if got := cell(strings.Repeat("x", 1000)); len(got) > cellBytes+8 || !strings.HasSuffix(got, "…") {
		t.Errorf("got %d bytes: %s", len(got), got)
	}
}

func TestParseCents(t *testing.T) {
	for in, want := range map[string]Cents{"0.00": 0, "0.05": 5, "12.30": 1230, "1000000000.99": 100000000099} {
		got, err := parseCents(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", ".", "1", "1.", "1.0", "1.000", ".50", "-1.00", "+1.00", "1,00", "1.+5", "1.-5", "1e2.00", "0x1.00", "1 .00", "1000000001.00"} {
		if got, err := parseCents(in); err == nil {
			t.Errorf("%q gave %s", in, got)
		}
	}
}

func TestStandingOf(t *testing.T) {
	status := wflo.Status{
		Steps: []wflo.StepRecord{{Key: "refund/a"}, {Key: "turn 1/run_python"}, {Key: "refund/b"}, {Key: "refund/c"}, {Key: "refund/d", Error: "no"}},
		Compensations: []wflo.CompensationRecord{
			{Name: "refund/a", State: wflo.CompensationDone}, {Name: "refund/b", State: wflo.CompensationDead},
			{Name: "refund/c", State: wflo.CompensationRegistered}, {Name: "refund/d", State: wflo.CompensationDone},
		},
	}
	want := Standing{Issued: []string{"c"}, Undone: []string{"a"}, Stuck: []string{"b"}, Refused: []string{"d"}}
	if diff := cmp.Diff(want, StandingOf(status)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzReadProposals(f *testing.F) {
	for _, seed := range []string{"[]", "null", "```json\n[]\n```", `[{"charge_id":"c","amount_cents":1}]`, `[{"amount_cents":1e2}]`, "[] []", "```"} {
		f.Add(seed)
	}
	charges, err := readCharges("charge_id,order_id,customer,card_last4,currency,amount,charged_at,status\n" +
		"c1,o,a,1,EUR,1.00,2026-01-01T00:00:00Z,captured\nc2,o,a,1,EUR,1.00,2026-01-01T00:01:00Z,captured\n")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		proposals, err := readProposals(answer)
		if err != nil || check(proposals, charges) != nil {
			return
		}
		// In these charges one refund is right, and no other.
		if len(proposals) > 1 || len(proposals) == 1 && (proposals[0].ChargeID != "c2" || proposals[0].Amount != 100) {
			t.Errorf("%q gave %+v", answer, proposals)
		}
		if text := markdown(proposals); utf8.ValidString(answer) && !utf8.ValidString(text) {
			t.Errorf("%q gave details that are not text", answer)
		}
	})
}

func FuzzReadCharges(f *testing.F) {
	f.Add("charge_id,order_id,customer,card_last4,currency,amount,charged_at,status\nc,o,a,1,EUR,1.00,2026-01-01T00:00:00Z,captured\n")
	f.Add("a,b\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		charges, err := readCharges(text)
		if err != nil {
			return
		}
		for id, c := range charges {
			if id == "" || c.id != id || c.amount < 0 || c.repeats(c) != c.captured {
				t.Errorf("%q gave %+v", text, c)
			}
		}
	})
}

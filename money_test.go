package wflo

import (
	"encoding/json"
	"math"
	"testing"
)

func TestParseMoney(t *testing.T) {
	tests := []struct {
		in   string
		want Money
		text string
	}{
		{"5", 5 * USD, "$5.00"},
		{"5.00", 5 * USD, "$5.00"},
		{" $0.0023 ", 2300 * MicroUSD, "$0.0023"},
		{"-1.5", -150 * Cent, "-$1.50"},
		{"-$1.5", -150 * Cent, "-$1.50"},
		{".5", 50 * Cent, "$0.50"},
		{"0.000000001", 1, "$0.000000001"},
		{"9223372036.854775807", math.MaxInt64, "$9223372036.854775807"},
		{"0", 0, "$0.00"},
	}
	for _, tt := range tests {
		got, err := ParseMoney(tt.in)
		if err != nil || got != tt.want || got.String() != tt.text {
			t.Errorf("ParseMoney(%q) = %d %q, %v; want %d %q", tt.in, got, got, err, tt.want, tt.text)
		}
	}
	for _, bad := range []string{"", "$", ".", "abc", "1,5", "1e3", "0.0000000001", "9223372036.854775808", "--1", "1.2.3", "٣"} {
		if got, err := ParseMoney(bad); err == nil {
			t.Errorf("ParseMoney(%q) = %s; want an error", bad, got)
		}
	}
}

func TestMoneyJSON(t *testing.T) {
	type bill struct {
		Total Money `json:"total"`
	}
	b, err := json.Marshal(bill{Total: 2300 * MicroUSD})
	if err != nil || string(b) != `{"total":"0.0023"}` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	var got bill
	if err := json.Unmarshal(b, &got); err != nil || got.Total != 2300*MicroUSD {
		t.Errorf("Unmarshal = %v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"total":1.5}`), &got); err == nil {
		t.Error("a JSON number was taken for money")
	}
}

func FuzzParseMoney(f *testing.F) {
	for _, s := range []string{"5.00", "$-1", "-$0.000000001", "9223372036.854775807", "1..2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMoney(s)
		if err != nil {
			return
		}
		again, err := ParseMoney(m.String())
		if err != nil || again != m {
			t.Errorf("%q -> %d -> %q -> %d, %v", s, m, m, again, err)
		}
	})
}

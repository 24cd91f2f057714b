package activities

import (
	"errors"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestCheckSizeNamesTheField(t *testing.T) {
	big := strings.Repeat("x", 5<<20)
	tests := []struct {
		name   string
		result any
		want   []string // empty: fits
	}{
		{"nothing", nil, nil},
		{"small", sandbox.Result{Stdout: "ok"}, nil},
		{"struct", sandbox.Result{Stdout: big, Stderr: "s"}, []string{"wflo.sandbox.Run", "5.0 MiB", "4.0 MiB", "field stdout"}},
		{"pointer", &sandbox.Result{Stderr: big}, []string{"field stderr"}},
		{"map", map[string]string{"page": big, "title": "t"}, []string{"field page"}},
		{"text", big, []string{"5.0 MiB"}},
		{"bytes", []byte(big), []string{"5.0 MiB"}},
		{"untagged", struct{ Body string }{big}, []string{"field Body"}},
		{"cannot be encoded", func() {}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := checkSize("wflo.sandbox.Run", tt.result, DefaultMaxResult)
			if len(tt.want) == 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, wflo.ErrPayloadTooLarge) || wflo.HintOf(err) == "" {
				t.Fatalf("error = %v", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
		})
	}
}

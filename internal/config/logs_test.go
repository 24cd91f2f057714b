package config

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLogs(t *testing.T) {
	for text, want := range map[string]Logs{
		"{}":        {},
		"off: true": {Off: true},
		"level: debug\n  max_age: 48h\n  max_lines: 500\n  max_bytes: 2048": {Level: slog.LevelDebug, MaxAge: 48 * time.Hour, MaxLines: 500, MaxBytes: 2048},
	} {
		f, err := Parse("f.yaml", []byte("logs:\n  "+text+"\n"))
		if diff := cmp.Diff(want, f.Logs); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"level: loud": "2:10: level is", "max_lines: -1": "max_lines is negative", "max_bytes: 10": "less than 1024", "max_age: soon": "max_age", "keep: yes": "unknown field", "off: 1": "off",
	} {
		if _, err := Parse("f.yaml", []byte("logs:\n  "+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

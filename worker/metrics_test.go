package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

func TestServeMetrics(t *testing.T) {
	numbers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "wflo_build_info 1\n") })
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	stop, err := serveMetrics("127.0.0.1:0", numbers, logger)
	if err != nil {
		t.Fatal(err)
	}
	at := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(log.String())[1]
	for path, want := range map[string]int{"/metrics": http.StatusOK, "/api/v1/runs": http.StatusNotFound, "/": http.StatusNotFound} {
		resp, err := http.Get("http://" + at + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || want == http.StatusOK && string(body) != "wflo_build_info 1\n" {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	if _, err := serveMetrics(at, numbers, logger); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("an address that is taken: %v", err)
	}
	stop()
	if _, err := http.Get("http://" + at + "/metrics"); err == nil {
		t.Error("it answers after its end")
	}
	stop, err = serveMetrics("", nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	stop()
}

//go:build integration

package e2e

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// promised are the metrics by their names and the labels that they have: dashboards that
// people made for themselves depend on both.
var promised = map[string][]string{
	"wflo_workflow_executions_total":         {"status"},
	"wflo_workflow_duration_seconds":         {"workflow_name"},
	"wflo_workflow_cost_usd":                 {"workflow_name"},
	"wflo_approval_requests_total":           {"status"},
	"wflo_approval_latency_seconds":          nil,
	"wflo_sandbox_creation_duration_seconds": nil,
	"wflo_llm_api_calls_total":               {"model", "provider"},
	"wflo_llm_tokens_total":                  {"model", "provider", "type"},
	"wflo_budget_exceeded_total":             {"workflow_name"},
}

// live are there while a sandbox is, and not afterwards.
var live = []string{"wflo_sandbox_cpu_usage_percent", "wflo_sandbox_memory_usage_bytes"}

// TestMetricsOfTheDemo reads /metrics after the demo's work and compares with what it
// does. Its fourth and fifth agent have workers of their own, whose metrics are not served.
func TestMetricsOfTheDemo(t *testing.T) {
	t.Parallel()
	p := start(t, environment(t.TempDir()), bin.wflo, "demo", "--wait")
	url := p.find(t, `Metrics +(http://\S+)`)
	over := regexp.MustCompile(`Everything is still running`)
	await(t, "the demo's end", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the demo ended:\n%s", p.said())
		default:
		}
		return over.MatchString(p.said())
	})
	all := scrapeMetrics(t, url)
	for _, name := range live {
		if all[name] != nil {
			t.Errorf("%s is still there, and all sandboxes are gone: %v", name, all[name])
		}
	}
	for name, labels := range promised {
		if all[name] == nil {
			t.Errorf("%s is not there", name)
			continue
		}
		all[name].wantLabels(t, name, labels)
	}
	wantDemo(t, all)
	wantSDK(t, all)
	wantExemplars(t, url)
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// wantDemo compares values with what the first three agents do.
func wantDemo(t *testing.T, all map[string]family) {
	t.Helper()
	for _, w := range []struct {
		name   string
		labels map[string]string
		least  float64
	}{
		{"wflo_workflow_executions_total", map[string]string{"status": "failed"}, 3},
		{"wflo_approvals_opened_total", nil, 3},
		{"wflo_approval_requests_total", map[string]string{"status": "approved"}, 2},
		{"wflo_approval_requests_total", map[string]string{"status": "rejected"}, 1},
		{"wflo_approval_latency_seconds", nil, 3},
		{"wflo_budget_exceeded_total", nil, 2},
		{"wflo_budget_alerts_total", nil, 8},
		{"wflo_budget_topups_total", nil, 1},
		{"wflo_agent_loops_total", nil, 1},
		{"wflo_llm_api_calls_total", nil, 65},
		{"wflo_llm_tokens_total", map[string]string{"type": "input"}, 1},
		{"wflo_compensations_total", map[string]string{"state": "compensated"}, 4},
		{"wflo_sandbox_executions_total", map[string]string{"outcome": "succeeded"}, 50},
		{"wflo_sandbox_creation_duration_seconds", nil, 3},
		{"wflo_build_info", nil, 1},
		{"go_goroutines", nil, 1},
	} {
		if got := all[w.name].total(w.labels); got < w.least {
			t.Errorf("%s%v is %v, and the demo does it at least %v times", w.name, w.labels, got, w.least)
		}
	}
	if got := all["wflo_restores_total"].total(map[string]string{"outcome": "failed"}); got != 0 {
		t.Errorf("%v restores failed, and the demo has none", got)
	}
}

// wantSDK looks for what dashboards and rules ask of Temporal's SDK, but for failures.
func wantSDK(t *testing.T, all map[string]family) {
	t.Helper()
	files, err := filepath.Glob("../../../../deploy/grafana/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: dashboards %v", err, files)
	}
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`temporal_\w+`).FindAllString(string(text), -1) {
			names[name] = true
		}
	}
	if len(names) == 0 {
		t.Error("the dashboards show nothing of Temporal's SDK")
	}
	for name := range names {
		if all[name] == nil && !strings.Contains(name, "fail") {
			t.Errorf("%s is on a dashboard and not among the metrics: %v", name, slices.Sorted(maps.Keys(all)))
		}
	}
}

// wantExemplars asks as Prometheus does. The demo exports no traces, so its samples point
// to the correlation ids of runs.
func wantExemplars(t *testing.T, url string) {
	t.Helper()
	text := getMetrics(t, url, "application/openmetrics-text; version=1.0.0")
	if !strings.Contains(text, `# {correlation_id="`) || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("no exemplars in OpenMetrics:\n%.3000s", text)
	}
}

// family has the samples of a metric; of a histogram, its counts.
type family []sample

type sample struct {
	labels map[string]string
	value  float64
}

// total sums the samples that have the labels.
func (f family) total(labels map[string]string) (sum float64) {
	for _, s := range f {
		has := true
		for name, value := range labels {
			has = has && s.labels[name] == value
		}
		if has {
			sum += s.value
		}
	}
	return sum
}

func (f family) wantLabels(t *testing.T, name string, want []string) {
	t.Helper()
	for _, s := range f {
		if got := slices.Sorted(maps.Keys(s.labels)); !slices.Equal(got, want) {
			t.Errorf("%s has the labels %q, want %q", name, got, want)
		}
	}
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// scrapeMetrics reads the text format, by the names of the metrics.
func scrapeMetrics(t *testing.T, url string) map[string]family {
	t.Helper()
	all, kinds := map[string]family{}, map[string]string{}
	for line := range strings.Lines(getMetrics(t, url, "text/plain")) {
		line = strings.TrimSuffix(line, "\n")
		if words := strings.Fields(line); len(words) == 4 && words[1] == "TYPE" {
			kinds[words[2]] = words[3]
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("a line that is no sample: %s", line)
		}
		name, isCount := strings.CutSuffix(m[1], "_count")
		if !isCount || kinds[name] != "histogram" {
			name = m[1]
		}
		if kinds[name] == "" {
			continue // a bucket or a sum
		}
		s := sample{labels: map[string]string{}}
		for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
			s.labels[l[1]] = l[2]
		}
		var err error
		if s.value, err = strconv.ParseFloat(m[3], 64); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[name] = append(all[name], s)
	}
	return all
}

func getMetrics(t *testing.T, url, accept string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %v, status %d", err, resp.StatusCode)
	}
	return string(text)
}

package house

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// expression is what a dashboard or a rule asks Prometheus.
type expression struct{ where, text string }

// A dead panel shows nothing, which looks like all being well, and a dead alert never
// wakes anybody.
const deadPanel = "a metric or a label that nobody makes gives an empty panel and a silent alert, which look like all being well"

func TestDashboardsAskForWhatThereIs(t *testing.T) {
	known := metricsThatAre(t)
	expressions, recorded := expressionsOf(t)
	for _, name := range recorded {
		known[name] = nil
	}
	var found []finding
	for _, e := range expressions {
		for _, what := range unknown(e.text, known) {
			found = append(found, finding{e.where, what})
		}
	}
	report(t, deadPanel, found)
	if len(expressions) < 100 {
		t.Errorf("%d expressions were looked at", len(expressions))
	}
}

func TestPlantedDeadPanels(t *testing.T) {
	known := metricsThatAre(t)
	for text, want := range map[string]string{
		`sum(rate(wflo_runs_total[5m]))`:                               "metric wflo_runs_total",
		`max(wflo_approvals_waiting{team="a"})`:                        "label team",
		`sum by (step) (rate(wflo_activity_duration_seconds_sum[1m]))`: "label step",
		`rate(wflo_approval_latency_seconds[5m])`:                      "metric wflo_approval_latency_seconds",
		`wflo:nothing:ratio > 1`:                                       "metric wflo:nothing:ratio",
	} {
		if got := unknown(text, known); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: found %q, want %q", text, got, want)
		}
	}
}

// TestRunbooks says that every alert leads to a section that is there.
func TestRunbooks(t *testing.T) {
	text := readRoot(t, "docs/runbooks.md")
	heads := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(text, -1) {
		heads[strings.ReplaceAll(strings.ToLower(h[1]), " ", "-")] = true
	}
	links := regexp.MustCompile(`runbook_url: \S+docs/runbooks\.md#(\S+)`).FindAllStringSubmatch(readRoot(t, "deploy/prometheus/alerts.yml"), -1)
	if len(links) < 20 {
		t.Fatalf("%d alerts link to their runbooks", len(links))
	}
	for _, l := range links {
		if !heads[l[1]] {
			t.Errorf("docs/runbooks.md has no section %q, which an alert links to", l[1])
		}
	}
}

// TestMetricsAreInTheGuide says that docs/metrics.md leaves none out, and invents none.
func TestMetricsAreInTheGuide(t *testing.T) {
	text := readRoot(t, "docs/metrics.md")
	known := metricsThatAre(t)
	for name := range known {
		base := strings.TrimSuffix(strings.TrimSuffix(name, "_count"), "_sum")
		if known[base+"_bucket"] != nil {
			continue // of a histogram, whose buckets stand for it
		}
		name = strings.TrimSuffix(name, "_bucket")
		if strings.HasPrefix(name, "wflo_") && !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/metrics.md does not have %s", name)
		}
	}
	for _, m := range regexp.MustCompile("`(wflo_\\w+)`").FindAllStringSubmatch(text, -1) {
		if known[m[1]] == nil && known[m[1]+"_bucket"] == nil {
			t.Errorf("docs/metrics.md has %s, which nobody makes", m[1])
		}
	}
}

func readRoot(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sdkMetrics are of Temporal's SDK, which makes them when it first needs them. That a
// worker shows them is for the test of its /metrics to see.
var sdkMetrics = map[string][]string{
	"temporal_workflow_task_execution_failed_total": {"workflow_type"},
	"temporal_worker_task_slots_available":          {"worker_type"},
	"temporal_request_failure_total":                {"operation"},
}

// metricsThatAre calls every method of the metrics once and reads the registry: names as
// Prometheus stores them, each with its labels.
func metricsThatAre(t *testing.T) map[string][]string {
	t.Helper()
	m := telemetry.NewMetrics(telemetry.Config{})
	callAll(t, reflect.ValueOf(m), "Handler", "Registry", "TemporalHandler", "Sandboxes")
	callAll(t, reflect.ValueOf(m.Sandboxes()), "Ended")
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	for name, labels := range sdkMetrics {
		known[name] = labels
	}
	for _, f := range families {
		labels := []string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if f.GetMetric()[0].GetHistogram() == nil {
			known[f.GetName()] = labels
			continue
		}
		known[f.GetName()+"_bucket"] = append([]string{"le"}, labels...)
		known[f.GetName()+"_count"], known[f.GetName()+"_sum"] = labels, labels
	}
	return known
}

// callAll calls the methods of v with arguments that count as something.
func callAll(t *testing.T, v reflect.Value, but ...string) {
	t.Helper()
	for i := range v.NumMethod() {
		if slices.Contains(but, v.Type().Method(i).Name) {
			continue
		}
		method := v.Method(i)
		var args []reflect.Value
		for j := range method.Type().NumIn() {
			args = append(args, something(t, method.Type().In(j)))
		}
		method.Call(args)
	}
}

// something is a value of a type that is not zero.
func something(t *testing.T, of reflect.Type) reflect.Value {
	t.Helper()
	if of.String() == "context.Context" {
		return reflect.ValueOf(t.Context())
	}
	v := reflect.New(of).Elem()
	switch of.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v = reflect.Append(v, something(t, of.Elem()))
	case reflect.Struct:
		for i := range of.NumField() {
			// Other fields say what nobody counts.
			if f := of.Field(i); f.IsExported() && (f.Type.Kind() == reflect.Int64 || f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct) {
				v.Field(i).Set(something(t, f.Type))
			}
		}
	}
	return v
}

// expressionsOf reads dashboards and rules, and the names that rules record.
func expressionsOf(t *testing.T) (all []expression, recorded []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), "deploy", "grafana", "*.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%v: dashboards %v", err, files)
	}
	for _, file := range files {
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		name := "deploy/grafana/" + filepath.Base(file)
		if err := json.Unmarshal([]byte(readRoot(t, name)), &board); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				all = append(all, expression{name + ": " + p.Title, target.Expr})
			}
		}
	}
	for _, name := range []string{"deploy/prometheus/recording.yml", "deploy/prometheus/alerts.yml"} {
		var rules struct {
			Groups []struct {
				Rules []struct{ Alert, Record, Expr string }
			}
		}
		if err := yaml.Unmarshal([]byte(readRoot(t, name)), &rules); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				all = append(all, expression{name + ": " + r.Alert + r.Record, r.Expr})
				if r.Record != "" {
					recorded = append(recorded, r.Record)
				}
			}
		}
	}
	return all, recorded
}

var (
	quoted    = regexp.MustCompile(`"[^"]*"`)
	ranges    = regexp.MustCompile(`\[[^\]]*\]`)
	selectors = regexp.MustCompile(`\{[^}]*\}`)
	matchers  = regexp.MustCompile(`([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)`)
	grouped   = regexp.MustCompile(`\b(?:by|on|without|ignoring)\s*\(([^)]*)\)`)
	words     = regexp.MustCompile(`\b(?:wflo|temporal|go|process)[_:][\w:]*`)
)

// unknown names what an expression asks for and nobody makes. Prometheus itself adds job
// and instance.
func unknown(text string, known map[string][]string) (all []string) {
	text = ranges.ReplaceAllString(quoted.ReplaceAllString(text, `""`), "")
	labels := []string{"job", "instance"}
	for _, name := range words.FindAllString(grouped.ReplaceAllString(selectors.ReplaceAllString(text, ""), ""), -1) {
		of, ok := known[name]
		if !ok {
			all = append(all, fmt.Sprintf("metric %s is not there in %s", name, text))
			continue
		}
		labels = append(labels, of...)
		if strings.HasPrefix(name, "wflo:") {
			labels = append(labels, "activity") // the one label that a recorded ratio keeps
		}
	}
	if len(all) > 0 {
		return all
	}
	var used []string
	for _, s := range selectors.FindAllString(text, -1) {
		for _, m := range matchers.FindAllStringSubmatch(s, -1) {
			used = append(used, m[1])
		}
	}
	for _, g := range grouped.FindAllStringSubmatch(text, -1) {
		for name := range strings.SplitSeq(g[1], ",") {
			if name = strings.TrimSpace(name); name != "" {
				used = append(used, name)
			}
		}
	}
	for _, name := range used {
		if !slices.Contains(labels, name) {
			all = append(all, fmt.Sprintf("label %s is not there in %s", name, text))
		}
	}
	return all
}

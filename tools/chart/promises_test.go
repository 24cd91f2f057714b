package chart

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// TestVariables has every variable that the chart sets of itself be one that a program
// reads: a name that nobody reads configures nothing, and nobody would say so.
func TestVariables(t *testing.T) {
	given := map[string]bool{} // by the set of values, not by the chart
	names := map[string]bool{}
	for _, set := range sets(t) {
		values := valuesOf(t, set)
		for _, part := range []string{"worker", "console"} {
			part, _ := values[part].(map[string]any)
			env, _ := part["env"].(map[string]any)
			for name := range env {
				given[name] = true
			}
			secrets, _ := part["secretEnv"].([]any)
			for _, s := range secrets {
				given[s.(map[string]any)["name"].(string)] = true
			}
		}
		for id, pod := range pods(t, render(t, set)) {
			for _, c := range containers(pod.Spec) {
				if id == sandboxHosts {
					continue // Docker's own programs read them
				}
				for _, e := range c.Env {
					names[e.Name] = true
				}
			}
		}
	}
	read := variablesRead(t)
	for name := range names {
		if !read[name] && !given[name] {
			t.Errorf("no program reads %s", name)
		}
	}
	if len(names) < 15 {
		t.Errorf("only %d variables", len(names))
	}
}

var quoted = regexp.MustCompile(`"([A-Z][A-Z0-9_]{5,})"`)

// variablesRead are the upper case words in quotes in our programs and in the libraries
// that read the environment themselves.
func variablesRead(t *testing.T) map[string]bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "go.temporal.io/sdk/contrib/envconfig", "github.com/minio/minio-go/v7")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("find libraries: %v", err)
	}
	dirs := append(strings.Fields(string(out)), filepath.Join(root, "plugin"), filepath.Join(root, "worker"), filepath.Join(root, "envelope"),
		filepath.Join(root, "cmd/wflo"), filepath.Join(root, "internal"))
	read := map[string]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range quoted.FindAllSubmatch(text, -1) {
				read[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return read
}

// TestSecretsAreNamed has every Secret that a pod needs be named by the values, and none
// be made by the chart.
func TestSecretsAreNamed(t *testing.T) {
	for _, set := range sets(t) {
		text, err := os.ReadFile("testdata/values/" + set + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		all := render(t, set)
		for _, o := range all {
			if o.GetKind() == "Secret" {
				t.Errorf("%s: the chart makes %s", set, o.id())
			}
		}
		found := 0
		for id, pod := range pods(t, all) {
			for _, name := range secretsOf(pod.Spec) {
				found++
				if !regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).Match(text) {
					t.Errorf("%s: %s needs the Secret %s, which no value names", set, id, name)
				}
			}
		}
		if found < 4 {
			t.Errorf("%s: only %d uses of Secrets", set, found)
		}
	}
}

func secretsOf(spec corev1.PodSpec) []string {
	var names []string
	for _, p := range spec.ImagePullSecrets {
		names = append(names, p.Name)
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil {
			names = append(names, v.Secret.SecretName)
		}
		if v.Projected != nil {
			for _, source := range v.Projected.Sources {
				if source.Secret != nil {
					names = append(names, source.Secret.Name)
				}
			}
		}
	}
	for _, c := range containers(spec) {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				names = append(names, e.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	return names
}

// TestBadValues has mistakes be refused, with what to do about them in the message.
func TestBadValues(t *testing.T) {
	for _, c := range []struct{ name, with, want string }{
		{"no address", `temporal: {address: ""}`, "temporal.address is missing"},
		{"an address without a port", `temporal: {address: temporal}`, "/temporal/address"},
		{"no database", `database: {existingSecret: ""}`, "database.existingSecret is missing"},
		{"no key of the console", `console: {key: {existingSecret: ""}}`, "console.key.existingSecret is missing"},
		{"a misspelt field", `worker: {replica: 3}`, "'replica'"},
		{"latest", `image: {tag: latest}`, "/image/tag"},
		{"half a digest", `image: {digest: "sha256:12"}`, "/image/digest"},
		{"a mode that nobody knows", `sandbox: {mode: daemonset}`, "/sandbox/mode"},
		{"engines without addresses", `sandbox: {mode: remote, clientTLS: {existingSecret: a}}`, "sandbox.remote.hosts is missing"},
		{"engines without a certificate", `sandbox: {mode: remote, remote: {hosts: {a: "tcp://a:2376"}}}`, "sandbox.clientTLS.existingSecret is missing"},
		{"an engine's address that would be another host", `sandbox: {mode: remote, remote: {hosts: {a: "tcp://a:2376,b=tcp://b:2376"}}}`, "/sandbox/remote/hosts/a"},
		{"an engine on a socket", `sandbox: {mode: remote, remote: {hosts: {a: "unix:///var/run/docker.sock"}}}`, "/sandbox/remote/hosts/a"},
		{"a pool without a certificate", `sandbox: {mode: pool, clientTLS: {existingSecret: a}}`, "sandbox.pool.serverTLS.existingSecret is missing"},
		{"an ingress without a host", `console: {ingress: {enabled: true}}`, "console.ingress.host is missing"},
		{"a variable in lower case", `worker: {env: {wflo: "1"}}`, "wflo"},
		{"a secret in a value", `worker: {secretEnv: [{name: OPENAI_API_KEY, value: sk-1}]}`, "/worker/secretEnv/0"},
		{"no limits", `worker: {resources: {requests: {cpu: 1, memory: 1Gi}, limits: null}}`, "/worker/resources"},
		{"a long build id", `worker: {versions: {"a-build-id-of-thirty-characters": {}}}`, "'a-build-id-of-thirty-characters' does not match"},
	} {
		_, err := renderAs(load(t), release, valuesOf(t, "minimal", c.with))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
	}
}

// TestSelectorsStay has what a selector says depend on the release alone: Kubernetes
// refuses to change it, so that an upgrade would fail.
func TestSelectorsStay(t *testing.T) {
	selector := func(with ...string) map[string]map[string]string {
		found := map[string]map[string]string{}
		for _, o := range render(t, "minimal", with...) {
			if o.GetKind() == "Deployment" {
				found[o.id()] = into[appsv1.Deployment](t, o).Spec.Selector.MatchLabels
			}
		}
		return found
	}
	before := selector()
	for _, with := range []string{`image: {tag: "9.9.9"}`, `commonLabels: {team: b}`, `worker: {podLabels: {a: b}, replicas: 7}`, `sandbox: {mode: none}`} {
		after := selector(with)
		if len(after) != 2 {
			t.Errorf("%s: %d Deployments", with, len(after))
		}
		for id, labels := range after {
			if !maps.Equal(labels, before[id]) {
				t.Errorf("%s: %s selects %v, and %v before", with, id, labels, before[id])
			}
		}
	}
	// Versions beside each other never select each other's pods, nor an installation without versions.
	seen := []map[string]string{before["Deployment wflo-worker"]}
	for id, labels := range selector(`worker: {versions: {a: {}, b: {}}}`) {
		if strings.Contains(id, "worker") {
			seen = append(seen, labels)
		}
	}
	for i, a := range seen {
		for _, b := range seen[i+1:] {
			if maps.Equal(a, b) {
				t.Errorf("two workers select the same: %v", a)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d selectors of workers", len(seen))
	}
}

// TestOneSource has rules and dashboards in the cluster be those of deploy: the chart
// links to them and holds no copies.
func TestOneSource(t *testing.T) {
	all := render(t, "cloud")
	boards, err := filepath.Glob(filepath.Join(root, "deploy/grafana/*.json"))
	if err != nil || len(boards) == 0 {
		t.Fatalf("dashboards: %v, %v", boards, err)
	}
	for _, path := range boards {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		got := into[corev1.ConfigMap](t, the(t, all, "ConfigMap wflo-dashboard-"+name)).Data["wflo-"+name+".json"]
		if strings.TrimSpace(got) != strings.TrimSpace(string(text)) {
			t.Errorf("%s is another one in the cluster", path)
		}
	}
	var want []any
	for _, name := range []string{"recording", "alerts"} {
		text, err := os.ReadFile(filepath.Join(root, "deploy/prometheus", name+".yml"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Groups []any }
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		want = append(want, file.Groups...)
	}
	rule := the(t, all, "PrometheusRule wflo")
	if got, _, _ := nested(rule, "spec", "groups"); len(want) == 0 || !equalJSON(t, got, want) {
		t.Errorf("the rules in the cluster are not those of deploy/prometheus")
	}
	for _, dir := range []string{"grafana", "prometheus"} {
		if to, err := os.Readlink(filepath.Join(chartDir, "files", dir)); err != nil || to != "../../../"+dir {
			t.Errorf("files/%s is %q, %v; want a link", dir, to, err)
		}
	}
}

// TestKedaKnowsTheFields has the trigger say only what KEDA's scaler for Temporal reads,
// by the tags of its own source.
func TestKedaKnowsTheFields(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "pkg/scalers/temporal_scaler.go"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`keda:"name=(\w+),\s*order=triggerMetadata[^"]*"`).FindAllStringSubmatch(string(source), -1) {
		known[m[1]] = !strings.Contains(m[0], "deprecated")
	}
	if len(known) < 10 {
		t.Fatalf("KEDA's source is not understood: %v", known)
	}
	for _, with := range []string{`{}`, `worker: {versions: {a: {}}}`} {
		found := 0
		for _, o := range render(t, "cloud", with) {
			if o.GetKind() != "ScaledObject" {
				continue
			}
			for _, trigger := range into[kedav1alpha1.ScaledObject](t, o).Spec.Triggers {
				for name := range trigger.Metadata {
					found++
					if !known[name] {
						t.Errorf("%s: KEDA does not read %s", with, name)
					}
				}
			}
		}
		if found < 10 {
			t.Errorf("%s: only %d fields", with, found)
		}
	}
}

// TestREADME has the chart's README name every value of the first two levels, and none
// that is not there.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	values := load(t).Values
	var want []string
	for name, v := range values {
		m, deep := v.(map[string]any)
		if !deep || len(m) == 0 {
			want = append(want, name)
			continue
		}
		for second := range m {
			want = append(want, name+"."+second)
		}
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([\\w.]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("README.md lists\n%q, values.yaml has\n%q", got, want)
	}
}

// TestDrain has a worker be given longer than it takes to stop: its activities, its metrics
// and its API, one after the other.
func TestDrain(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "plugin/plugin.go"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`const stopTime = (\d+) \* time\.Second`).FindSubmatch(source)
	if m == nil {
		t.Fatal("plugin.go does not say how long a worker waits for its activities")
	}
	activities, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	const rest = 5 + 5 + 10 // metrics, API, and closing what is open
	for id, pod := range pods(t, render(t, "minimal")) {
		if strings.HasSuffix(id, "-worker") && *pod.Spec.TerminationGracePeriodSeconds < int64(activities+rest) {
			t.Errorf("%s has %d s to end, and needs %d", id, *pod.Spec.TerminationGracePeriodSeconds, activities+rest)
		}
	}
}

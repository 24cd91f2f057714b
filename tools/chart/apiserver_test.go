//go:build apiserver

package chart

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// cluster is a Kubernetes API server with its database, without nodes and controllers: it
// validates, admits and stores what it is given, and nothing runs.
type cluster struct {
	url    string
	client *http.Client
	kinds  map[string]resource
}

// resource is where objects of a kind are.
type resource struct {
	path       string
	namespaced bool
}

const (
	adminToken = "of-a-server-that-is-gone-in-a-minute" //nolint:gosec // see its name
	patience   = 60 * time.Second
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// run starts a program of bin until the test ends; its output is shown where the test fails.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := filepath.Abs("../../bin/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: make chart-cluster builds it", err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s: %s", name, text[max(0, len(text)-3000):])
		}
	})
}

// startCluster starts etcd and the API server, and waits until it is ready.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	dir, etcdPort, peerPort, port := t.TempDir(), freePort(t), freePort(t), freePort(t)
	etcd := "http://127.0.0.1:" + etcdPort
	run(t, "etcd", "--data-dir="+filepath.Join(dir, "etcd"), "--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls=http://127.0.0.1:"+peerPort, "--unsafe-no-fsync=true")
	tokens, key := filepath.Join(dir, "tokens.csv"), filepath.Join(dir, "accounts.pem")
	write(t, tokens, []byte(adminToken+`,admin,admin,"system:masters"`+"\n"))
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}))
	run(t, "kube-apiserver", "--etcd-servers="+etcd, "--cert-dir="+filepath.Join(dir, "certs"), "--bind-address=127.0.0.1", "--secure-port="+port,
		"--token-auth-file="+tokens, "--authorization-mode=RBAC", "--allow-privileged=true", "--service-cluster-ip-range=10.0.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key, "--service-account-signing-key-file="+key)
	c := &cluster{
		url: "https://127.0.0.1:" + port, kinds: map[string]resource{},
		// The server makes a certificate for itself; it is on this machine and has nothing.
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	}
	c.await(t, "/readyz", func(status int, _ []byte) bool { return status == http.StatusOK })
	return c
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// await asks until the answer is as wanted.
func (c *cluster) await(t *testing.T, path string, good func(int, []byte) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		status, body, err := c.ask(ctx, http.MethodGet, path, "", nil)
		if err == nil && good(status, body) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("GET %s: %d, %v: %s", path, status, err, body)
		case <-again.C:
		}
	}
}

func (c *cluster) ask(ctx context.Context, method, path, kind string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// discover learns where objects of a version are.
func (c *cluster) discover(t *testing.T, version string) {
	t.Helper()
	path := "/apis/" + version
	if version == "v1" {
		path = "/api/v1"
	}
	_, body, err := c.ask(t.Context(), http.MethodGet, path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Resources []struct {
			Name, Kind string
			Namespaced bool
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatalf("%s: %v: %s", path, err, body)
	}
	for _, r := range list.Resources {
		if !strings.Contains(r.Name, "/") {
			c.kinds[version+" "+r.Kind] = resource{path: path + "/%s" + r.Name, namespaced: r.Namespaced}
		}
	}
}

// apply sends an object as Helm does, by server-side apply; a field that the server does
// not know is an error.
func (c *cluster) apply(t *testing.T, o object) error {
	t.Helper()
	kind := o.GetAPIVersion() + " " + o.GetKind()
	if _, known := c.kinds[kind]; !known {
		c.discover(t, o.GetAPIVersion())
	}
	r, known := c.kinds[kind]
	if !known {
		return fmt.Errorf("the server does not know %s", kind)
	}
	within := ""
	if r.namespaced {
		within = "namespaces/" + namespace + "/"
		if ns := o.GetNamespace(); ns != "" {
			within = "namespaces/" + ns + "/"
		}
	}
	path := fmt.Sprintf(r.path, within) + "/" + o.GetName() + "?fieldManager=helm&force=true&fieldValidation=Strict"
	status, answer, err := c.ask(t.Context(), http.MethodPatch, path, "application/apply-patch+yaml", o.raw)
	if err == nil && status != http.StatusOK && status != http.StatusCreated {
		var s struct{ Message string }
		_ = json.Unmarshal(answer, &s)
		err = fmt.Errorf("%d: %s", status, s.Message)
	}
	return err
}

// namespaceObject is a namespace in which only restricted pods are admitted.
func namespaceObject(t *testing.T, name string) object {
	t.Helper()
	o, _ := decode(t, name, []byte(`{apiVersion: v1, kind: Namespace, metadata: {name: `+name+`, labels: {pod-security.kubernetes.io/enforce: restricted}}}`))
	return o
}

// definitions applies the operators' own definitions of their objects.
func definitions(t *testing.T, c *cluster) {
	t.Helper()
	keda := moduleDir(t, "github.com/kedacore/keda/v2")
	operator := moduleDir(t, "github.com/prometheus-operator/prometheus-operator")
	for name, path := range map[string]string{
		"keda.sh/v1alpha1 ScaledObject":           keda + "/config/crd/bases/keda.sh_scaledobjects.yaml",
		"monitoring.coreos.com/v1 PodMonitor":     operator + "/example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"monitoring.coreos.com/v1 PrometheusRule": operator + "/example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		o, _ := decode(t, path, text)
		if err := c.apply(t, o); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		version, kind, _ := strings.Cut(name, " ")
		c.await(t, "/apis/"+version, func(status int, body []byte) bool {
			return status == http.StatusOK && strings.Contains(string(body), `"`+kind+`"`)
		})
	}
}

// moduleDir is where a module is whose version go.mod has: its own, or that of the module
// of types that is released with it.
func moduleDir(t *testing.T, path string) string {
	t.Helper()
	version := ""
	for _, m := range []string{path, path + "/pkg/apis/monitoring"} {
		if out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", m).Output(); err == nil {
			version = strings.TrimSpace(string(out))
			break
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", path+"@"+version).Output()
	if err != nil {
		t.Fatalf("download %s@%s: %v: %s", path, version, err, out)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m.Dir
}

// TestAPIServer has a real API server take every object of every set of values, first all
// of one installation, then as an upgrade to the next set, so that what cannot be changed
// would show. The pods themselves are admitted where only restricted ones are.
func TestAPIServer(t *testing.T) {
	c := startCluster(t)
	for _, version := range []string{"v1", "apps/v1"} {
		c.discover(t, version)
	}
	if err := c.apply(t, namespaceObject(t, namespace)); err != nil {
		t.Fatal(err)
	}
	// A controller makes this account in every namespace.
	account, _ := decode(t, "account", []byte(`{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}`))
	if err := c.apply(t, account); err != nil {
		t.Fatal(err)
	}
	definitions(t, c)
	for _, set := range sets(t) {
		all := render(t, set)
		// Helm installs namespaces and accounts first.
		for _, first := range []bool{true, false} {
			for _, o := range all {
				if first != (o.GetKind() == "Namespace" || o.GetKind() == "ServiceAccount" && o.GetNamespace() == "") {
					continue
				}
				if o.GetKind() == "Job" {
					o.SetName(o.GetName() + "-" + set) // Helm deletes it before; a Job cannot be changed
					o.raw, _ = o.MarshalJSON()
				}
				if err := c.apply(t, o); err != nil {
					t.Errorf("%s: %s: %v", set, o.id(), err)
				}
			}
		}
		for id, template := range pods(t, all) {
			if err := c.apply(t, podOf(t, id, template)); err != nil {
				t.Errorf("%s: a pod of %s: %v", set, id, err)
			}
			if id == sandboxHosts {
				if err := c.apply(t, inNamespace(podOf(t, id, template), namespace)); err == nil {
					t.Errorf("a restricted namespace takes a pod of %s", id)
				}
			}
		}
	}
}

// podOf is the first pod that a controller would make of a template.
func podOf(t *testing.T, id string, template corev1.PodTemplateSpec) object {
	t.Helper()
	kind, name, _ := strings.Cut(id, " ")
	ns, own, found := strings.Cut(name, "/")
	if !found {
		ns, own = namespace, name
	}
	if kind == "StatefulSet" {
		template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{
			Name: "storage", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "storage-" + own + "-0"}},
		})
	}
	pod := corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.APIVersion, pod.Kind, pod.Name, pod.Namespace = "v1", "Pod", fmt.Sprintf("%s-%d", own, time.Now().UnixNano()), ns
	text, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := decode(t, id, text)
	return o
}

func inNamespace(o object, ns string) object {
	o.SetNamespace(ns)
	o.raw, _ = o.MarshalJSON()
	return o
}

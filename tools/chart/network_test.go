package chart

import (
	"fmt"
	"net/netip"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func selectorOf(t *testing.T, o object) *metav1.LabelSelector {
	t.Helper()
	switch o.GetKind() {
	case "PodDisruptionBudget":
		return into[policyv1.PodDisruptionBudget](t, o).Spec.Selector
	case "Service":
		return &metav1.LabelSelector{MatchLabels: into[corev1.Service](t, o).Spec.Selector}
	case "PodMonitor":
		s := into[monitoringv1.PodMonitor](t, o).Spec.Selector
		return &s
	}
	t.Fatalf("%s has no selector", o.id())
	return nil
}

func matches(t *testing.T, s *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(of))
}

// end is one end of a connection: a pod, or an address beyond the cluster.
type end struct {
	namespace string
	labels    map[string]string
	address   string
}

// allowed judges a connection as NetworkPolicies do: whoever is selected by one for the
// direction may do what any of them says, and nothing else.
func allowed(t *testing.T, all []object, from, to end, port int32, protocol corev1.Protocol) bool {
	t.Helper()
	return passes(t, all, from, to, port, protocol, networkingv1.PolicyTypeEgress) && passes(t, all, to, from, port, protocol, networkingv1.PolicyTypeIngress)
}

func passes(t *testing.T, all []object, self, other end, port int32, protocol corev1.Protocol, direction networkingv1.PolicyType) bool {
	t.Helper()
	if self.labels == nil {
		return true // nobody's policies are about it
	}
	selected := false
	for _, o := range all {
		if o.GetKind() != "NetworkPolicy" || (o.GetNamespace() != self.namespace && (o.GetNamespace() != "" || self.namespace != namespace)) {
			continue
		}
		p := into[networkingv1.NetworkPolicy](t, o)
		if !matches(t, &p.Spec.PodSelector, self.labels) {
			continue
		}
		for _, kind := range p.Spec.PolicyTypes {
			selected = selected || kind == direction
		}
		if direction == networkingv1.PolicyTypeEgress {
			for _, r := range p.Spec.Egress {
				if peerOf(t, r.To, other) && portOf(r.Ports, port, protocol) {
					return true
				}
			}
			continue
		}
		for _, r := range p.Spec.Ingress {
			if peerOf(t, r.From, other) && portOf(r.Ports, port, protocol) {
				return true
			}
		}
	}
	return !selected
}

func peerOf(t *testing.T, peers []networkingv1.NetworkPolicyPeer, other end) bool {
	t.Helper()
	for _, p := range peers {
		if p.IPBlock != nil {
			if other.address != "" && inBlock(t, p.IPBlock, netip.MustParseAddr(other.address)) {
				return true
			}
			continue
		}
		if other.labels == nil || other.address != "" {
			continue
		}
		inNamespace := p.NamespaceSelector != nil && matches(t, p.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": other.namespace})
		if (inNamespace || p.NamespaceSelector == nil && other.namespace == namespace) && (p.PodSelector == nil || matches(t, p.PodSelector, other.labels)) {
			return true
		}
	}
	return len(peers) == 0
}

func inBlock(t *testing.T, b *networkingv1.IPBlock, a netip.Addr) bool {
	t.Helper()
	for _, e := range b.Except {
		if netip.MustParsePrefix(e).Contains(a) {
			return false
		}
	}
	return netip.MustParsePrefix(b.CIDR).Contains(a)
}

func portOf(ports []networkingv1.NetworkPolicyPort, port int32, protocol corev1.Protocol) bool {
	for _, p := range ports {
		if p.Port.IntVal == port && (p.Protocol == nil && protocol == corev1.ProtocolTCP || p.Protocol != nil && *p.Protocol == protocol) {
			return true
		}
	}
	return len(ports) == 0
}

// TestNetwork holds who reaches whom, as docs/kubernetes.md has it.
func TestNetwork(t *testing.T) {
	all := render(t, "pool", `networkPolicy: {database: {to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: postgres}}}], port: 5432}}`)
	templates := pods(t, all)
	own := func(id string) end {
		pod, there := templates[id]
		if !there {
			t.Fatalf("no %s", id)
		}
		return end{namespace: namespace, labels: pod.Labels}
	}
	ends := map[string]end{
		"worker": own("Deployment wflo-worker-2026-11-2"), "console": own("Deployment wflo-console"), "migration": own("Job wflo-migrate"),
		"engine":     {namespace: "wflo-sandboxes", labels: templates[sandboxHosts].Labels},
		"dns":        {namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}},
		"database":   {namespace: "postgres", labels: map[string]string{"app": "postgres"}},
		"ingress":    {namespace: "ingress-nginx", labels: map[string]string{"app": "ingress"}},
		"prometheus": {namespace: "monitoring", labels: map[string]string{"app": "prometheus"}},
		"temporal":   {namespace: "temporal", labels: map[string]string{"app": "frontend"}},
		"stranger":   {namespace: "default", labels: map[string]string{"app": "shop"}},
		"model":      {address: "203.0.113.7"}, "metadata": {address: "169.254.169.254"}, "private": {address: "10.1.2.3"},
	}
	for _, c := range []struct {
		from, to string
		port     int32
		want     bool
	}{
		{"worker", "temporal", 7233, true}, {"worker", "database", 5432, true}, {"worker", "model", 443, true}, {"worker", "engine", 2376, true},
		{"worker", "model", 80, false}, {"worker", "metadata", 80, false}, {"worker", "engine", 2375, false}, {"worker", "console", 7244, false},
		{"worker", "private", 22, false}, {"worker", "stranger", 8080, false},
		{"console", "temporal", 7233, true}, {"console", "database", 5432, true}, {"console", "engine", 2376, false}, {"console", "worker", 7244, false},
		{"migration", "database", 5432, true}, {"migration", "temporal", 7233, false}, {"migration", "model", 443, false}, {"migration", "engine", 2376, false},
		{"ingress", "console", 7244, true}, {"stranger", "console", 7244, false}, {"prometheus", "worker", 9464, true}, {"prometheus", "console", 7244, true},
		{"stranger", "worker", 9464, false}, {"prometheus", "worker", 7244, false},
		{"stranger", "engine", 2376, false}, {"prometheus", "engine", 2376, false}, {"console", "engine", 2376, false},
		{"engine", "model", 443, true}, {"engine", "database", 5432, false}, {"engine", "temporal", 7233, false}, {"engine", "worker", 9464, false},
		{"engine", "metadata", 80, false}, {"engine", "private", 443, false},
	} {
		if got := allowed(t, all, ends[c.from], ends[c.to], c.port, corev1.ProtocolTCP); got != c.want {
			t.Errorf("%s to %s, port %d: allowed %v, want %v", c.from, c.to, c.port, got, c.want)
		}
	}
	for _, from := range []string{"worker", "console", "migration", "engine"} {
		if !allowed(t, all, ends[from], ends["dns"], 53, corev1.ProtocolUDP) {
			t.Errorf("%s cannot ask for names", from)
		}
	}
	// Another release's workers are strangers to these engines.
	other := ends["worker"]
	other.labels = map[string]string{"app.kubernetes.io/name": "wflo", "app.kubernetes.io/component": "worker", "app.kubernetes.io/instance": "other"}
	if allowed(t, all, other, ends["engine"], 2376, corev1.ProtocolTCP) {
		t.Error(fmt.Sprint("the workers of another release reach the engines: ", other.labels))
	}
}

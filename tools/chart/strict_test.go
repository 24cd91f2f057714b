package chart

import (
	"testing"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/json"
)

// kinds are the types that objects are read into, by version and kind: those of
// Kubernetes and of the two operators, from their own modules.
var kinds = map[string]func() any{
	"v1 ConfigMap":                            func() any { return new(corev1.ConfigMap) },
	"v1 Namespace":                            func() any { return new(corev1.Namespace) },
	"v1 PersistentVolumeClaim":                func() any { return new(corev1.PersistentVolumeClaim) },
	"v1 Service":                              func() any { return new(corev1.Service) },
	"v1 ServiceAccount":                       func() any { return new(corev1.ServiceAccount) },
	"apps/v1 Deployment":                      func() any { return new(appsv1.Deployment) },
	"apps/v1 StatefulSet":                     func() any { return new(appsv1.StatefulSet) },
	"batch/v1 Job":                            func() any { return new(batchv1.Job) },
	"policy/v1 PodDisruptionBudget":           func() any { return new(policyv1.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return new(networkingv1.NetworkPolicy) },
	"networking.k8s.io/v1 Ingress":            func() any { return new(networkingv1.Ingress) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() any { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"keda.sh/v1alpha1 ScaledObject":           func() any { return new(kedav1alpha1.ScaledObject) },
	"monitoring.coreos.com/v1 PodMonitor":     func() any { return new(monitoringv1.PodMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() any { return new(monitoringv1.PrometheusRule) },
}

// into reads an object as T, which is an error where T has no such field.
func into[T any](t *testing.T, o object) T {
	t.Helper()
	var v T
	strict, err := json.UnmarshalStrict(o.raw, &v)
	if err != nil {
		t.Fatalf("%s: %v", o.id(), err)
	}
	for _, e := range strict {
		t.Errorf("%s: %v", o.id(), e)
	}
	return v
}

// TestStrict reads every object into its type: a field that the type does not have is a
// field that a cluster would silently drop.
func TestStrict(t *testing.T) {
	seen := map[string]bool{}
	for _, set := range sets(t) {
		for _, o := range render(t, set) {
			kind := o.GetAPIVersion() + " " + o.GetKind()
			make, known := kinds[kind]
			if !known {
				t.Errorf("%s: %s: nobody knows %s", set, o.id(), kind)
				continue
			}
			seen[kind] = true
			strict, err := json.UnmarshalStrict(o.raw, make())
			if err != nil {
				t.Errorf("%s: %s: %v", set, o.id(), err)
			}
			for _, e := range strict {
				t.Errorf("%s: %s: %v", set, o.id(), e)
			}
		}
	}
	for kind := range kinds {
		if !seen[kind] {
			t.Errorf("no set of values renders %s", kind)
		}
	}
}

// TestStrictFindsTypos makes sure that the reading above is strict.
func TestStrictFindsTypos(t *testing.T) {
	var d appsv1.Deployment
	strict, err := json.UnmarshalStrict([]byte(`{"spec":{"replica":1}}`), &d)
	if err != nil || len(strict) != 1 {
		t.Fatalf("a typo gives %v, %v", strict, err)
	}
}

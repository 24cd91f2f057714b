package chart

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
)

// sandboxHosts is the one object whose pods may do what no other may: an engine in a
// container is privileged.
const sandboxHosts = "StatefulSet wflo-sandboxes/wflo-sandboxes"

// pods gives the templates of pods among objects, by the object's id.
func pods(t *testing.T, all []object) map[string]corev1.PodTemplateSpec {
	t.Helper()
	found := map[string]corev1.PodTemplateSpec{}
	for _, o := range all {
		switch o.GetKind() {
		case "Deployment":
			found[o.id()] = into[appsv1.Deployment](t, o).Spec.Template
		case "StatefulSet":
			found[o.id()] = into[appsv1.StatefulSet](t, o).Spec.Template
		case "Job":
			found[o.id()] = into[batchv1.Job](t, o).Spec.Template
		}
	}
	if len(found) < 3 {
		t.Fatalf("only %d kinds of pods", len(found))
	}
	return found
}

func containers(spec corev1.PodSpec) []corev1.Container {
	return append(slices.Clone(spec.InitContainers), spec.Containers...)
}

// TestPodSecurity judges every pod by Kubernetes' own admission code: restricted, but for
// the hosts of sandboxes, whose namespace must say so.
func TestPodSecurity(t *testing.T) {
	judge, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, set := range sets(t) {
		all := render(t, set)
		for id, pod := range pods(t, all) {
			var refused []string
			for _, r := range judge.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
				if !r.Allowed {
					refused = append(refused, r.ForbiddenReason+": "+r.ForbiddenDetail)
				}
			}
			switch {
			case id == sandboxHosts && len(refused) == 0:
				t.Errorf("%s is restricted now: take it off the list, and its namespace's label away", id)
			case id != sandboxHosts && len(refused) > 0:
				t.Errorf("%s: %s: %s", set, id, strings.Join(refused, "; "))
			}
		}
		if set == "pool" {
			ns := the(t, all, "Namespace wflo-sandboxes")
			label := ns.GetLabels()["pod-security.kubernetes.io/enforce"]
			if label != "privileged" {
				t.Errorf("the namespace of the engines enforces %q", label)
			}
		}
	}
}

// TestContainers holds what no admission demands: bounds, probes, versions of images, a
// root file system that is read only, and no token.
func TestContainers(t *testing.T) {
	for _, set := range sets(t) {
		for id, pod := range pods(t, render(t, set)) {
			if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
				t.Errorf("%s: %s has a token of the cluster", set, id)
			}
			if links := pod.Spec.EnableServiceLinks; links == nil || *links {
				t.Errorf("%s: %s has variables of every service", set, id)
			}
			for _, c := range containers(pod.Spec) {
				container(t, set+": "+id, c)
			}
			if strings.HasPrefix(id, "Job ") {
				continue
			}
			for _, c := range pod.Spec.Containers {
				watched := c.LivenessProbe != nil && c.ReadinessProbe != nil && c.StartupProbe != nil
				if id == sandboxHosts && c.Name == "image" {
					watched = !watched // it serves nobody, and the engine's readiness tells whether it has done its work
				}
				if !watched {
					t.Errorf("%s: %s: %s has not all probes", set, id, c.Name)
				}
			}
		}
	}
}

func container(t *testing.T, where string, c corev1.Container) {
	t.Helper()
	for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := c.Resources.Requests[resource], c.Resources.Limits[resource]
		if request.IsZero() || limit.IsZero() || request.Cmp(limit) > 0 {
			t.Errorf("%s: %s: %s: requests %v, limit %v", where, c.Name, resource, request.String(), limit.String())
		}
	}
	name, digest, pinned := strings.Cut(c.Image, "@sha256:")
	tag := name[strings.LastIndex(name, "/")+1:]
	if _, tag, _ = strings.Cut(tag, ":"); pinned && len(digest) != 64 || !pinned && (tag == "" || tag == "latest") {
		t.Errorf("%s: %s: image %s has neither version nor digest", where, c.Name, c.Image)
	}
	if strings.HasSuffix(where, sandboxHosts) && c.Name == "engine" {
		return
	}
	s := c.SecurityContext
	if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
		t.Errorf("%s: %s may write to its image, or gain privileges", where, c.Name)
	}
}

// TestVolumesFit has each mount name a volume of its pod, and each volume be mounted.
func TestVolumesFit(t *testing.T) {
	for _, set := range sets(t) {
		all := render(t, set)
		for id, pod := range pods(t, all) {
			volumes := map[string]int{}
			for _, v := range pod.Spec.Volumes {
				volumes[v.Name] = 0
			}
			if id == sandboxHosts {
				for _, c := range into[appsv1.StatefulSet](t, the(t, all, id)).Spec.VolumeClaimTemplates {
					volumes[c.Name] = 0
				}
			}
			for _, c := range containers(pod.Spec) {
				for _, m := range c.VolumeMounts {
					if _, there := volumes[m.Name]; !there {
						t.Errorf("%s: %s: %s mounts %s, which is no volume", set, id, c.Name, m.Name)
					}
					volumes[m.Name]++
				}
			}
			for name, mounts := range volumes {
				if mounts == 0 {
					t.Errorf("%s: %s: nobody mounts the volume %s", set, id, name)
				}
			}
		}
	}
}

// TestSelectors has whatever selects pods select those that it is for, and no others: a
// budget that selects nothing protects nothing.
func TestSelectors(t *testing.T) {
	for _, set := range sets(t) {
		all := render(t, set)
		templates := pods(t, all)
		for _, o := range all {
			var selector *metav1.LabelSelector
			switch o.GetKind() {
			case "Deployment":
				selector = into[appsv1.Deployment](t, o).Spec.Selector
			case "StatefulSet":
				selector = into[appsv1.StatefulSet](t, o).Spec.Selector
			case "PodDisruptionBudget", "Service", "PodMonitor":
				selector = selectorOf(t, o)
			default:
				continue
			}
			var selected []string
			for id, pod := range templates {
				if matches(t, selector, pod.Labels) {
					selected = append(selected, id)
				}
			}
			slices.Sort(selected)
			if want := wantSelected(o, templates); !slices.Equal(selected, want) {
				t.Errorf("%s: %s selects %q, want %q", set, o.id(), selected, want)
			}
		}
	}
}

// wantSelected are the pods that an object is for: those of its own name, and for a
// monitor every worker.
func wantSelected(o object, templates map[string]corev1.PodTemplateSpec) []string {
	var want []string
	for id := range templates {
		_, name, _ := strings.Cut(id, " ")
		own := strings.TrimPrefix(name, o.GetNamespace()+"/") == o.GetName() && (o.GetNamespace() != "") == strings.Contains(name, "/")
		if own || o.GetKind() == "PodMonitor" && strings.Contains(name, "-worker") {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	return want
}

// TestPrivateKeys has private keys be mounted as wflo takes them: root's files, which only
// the group of the pod reads, and which no other program has copied.
func TestPrivateKeys(t *testing.T) {
	found := 0
	for _, set := range sets(t) {
		for id, pod := range pods(t, render(t, set)) {
			if len(pod.Spec.InitContainers) > 0 && id != sandboxHosts {
				t.Errorf("%s: %s has %d init containers", set, id, len(pod.Spec.InitContainers))
			}
			for _, v := range pod.Spec.Volumes {
				if v.Name != "private-keys" {
					continue
				}
				found++
				var mode *int32
				switch {
				case v.Secret != nil && len(v.Secret.Items) > 0:
					mode = v.Secret.DefaultMode
				case v.Projected != nil && len(v.Projected.Sources) > 0:
					mode = v.Projected.DefaultMode
				}
				if mode == nil || *mode != 0o440 {
					t.Errorf("%s: %s mounts its keys as %+v", set, id, v.VolumeSource)
				}
				s := pod.Spec.SecurityContext
				if s == nil || s.FSGroup == nil || s.RunAsUser == nil || *s.RunAsUser == 0 || *s.FSGroup == 0 {
					t.Errorf("%s: %s has no group that reads its keys, or is root: %+v", set, id, s)
				}
			}
		}
	}
	if found < 2 {
		t.Errorf("only %d volumes of private keys", found)
	}
}

// Package chart tries the Helm chart in deploy/helm/wflo: its tests lint and render it as
// Helm does, read every object as Kubernetes and the operators do, and hold what the
// documents promise of it. It holds no code to call.
package chart

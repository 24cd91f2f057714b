package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
)

// snapshotBuckets and restoreBuckets are in seconds. A restore may wait for people
// and for compensations.
var (
	snapshotBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1200}
	restoreBuckets  = []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400}
)

// recovery are the metrics of snapshots, restores and compensations.
type recovery struct {
	snapshots       *prometheus.CounterVec
	snapshotTook    prometheus.Histogram
	bytes, stored   *prometheus.CounterVec
	restores        *prometheus.CounterVec
	restoreTook     *prometheus.HistogramVec
	compensations   *prometheus.CounterVec
	dropped         prometheus.Counter
	blobs, blobSize prometheus.Counter
}

func (r *recovery) register(counter func(name, help string, labels ...string) *prometheus.CounterVec, histogram func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec) {
	r.snapshots = counter("wflo_snapshots_total", "Snapshots that were taken, by why: auto, manual, pre_restore.", "kind")
	for _, kind := range []wflo.SnapshotKind{wflo.SnapshotAuto, wflo.SnapshotManual, wflo.SnapshotPreRestore} {
		r.snapshots.WithLabelValues(string(kind))
	}
	r.snapshotTook, _ = histogram("wflo_snapshot_duration_seconds", "Time that taking a snapshot took.", snapshotBuckets).WithLabelValues().(prometheus.Histogram)
	r.bytes = counter("wflo_snapshot_bytes_total", "Bytes that snapshots hold, by part: state, workspace, tables.", "part")
	r.stored = counter("wflo_snapshot_stored_bytes_total", "Bytes of snapshots that were new to the store, after compression, by part.", "part")
	r.restores = counter("wflo_restores_total", "Restores that ended, by mode and outcome: done, failed.", "mode", "outcome")
	for _, mode := range []wflo.RestoreMode{wflo.RestoreInPlace, wflo.RestoreFork, wflo.RestoreReopen} {
		for _, outcome := range []wflo.RestoreState{wflo.RestoreDone, wflo.RestoreFailed} {
			r.restores.WithLabelValues(string(mode), string(outcome))
		}
	}
	r.restoreTook = histogram("wflo_restore_duration_seconds", "Time from asking for a restore to its end.", restoreBuckets, "mode")
	r.compensations = counter("wflo_compensations_total", "Compensations that came into a state.", "state")
	for _, state := range []wflo.CompensationState{wflo.CompensationRegistered, wflo.CompensationDone, wflo.CompensationDead} {
		r.compensations.WithLabelValues(string(state))
	}
	r.dropped = counter("wflo_snapshots_dropped_total", "Snapshots that retention dropped.").WithLabelValues()
	r.blobs = counter("wflo_snapshot_blobs_deleted_total", "Blobs that the collector deleted because nothing referred to them.").WithLabelValues()
	r.blobSize = counter("wflo_snapshot_bytes_freed_total", "Bytes of the blobs that the collector deleted.").WithLabelValues()
}

// SnapshotTaken counts a snapshot, what it holds, and how long it took.
func (m *Metrics) SnapshotTaken(ctx context.Context, s wflo.Snapshot, took time.Duration) {
	m.inc(ctx, m.recovery.snapshots.WithLabelValues(m.states.admit(string(s.Kind))))
	m.observe(ctx, m.recovery.snapshotTook, took)
	for _, p := range s.Parts {
		part := m.states.admit(string(p.Kind))
		m.recovery.bytes.WithLabelValues(part).Add(float64(max(p.Bytes, 0)))
		m.recovery.stored.WithLabelValues(part).Add(float64(max(p.Stored, 0)))
	}
}

// Restored counts a restore that ended.
func (m *Metrics) Restored(ctx context.Context, mode wflo.RestoreMode, outcome wflo.RestoreState) {
	m.inc(ctx, m.recovery.restores.WithLabelValues(m.states.admit(string(mode)), m.states.admit(string(outcome))))
}

// RestoreTook counts how long a restore took, from asking for it.
func (m *Metrics) RestoreTook(ctx context.Context, mode wflo.RestoreMode, took time.Duration) {
	m.observe(ctx, m.recovery.restoreTook.WithLabelValues(m.states.admit(string(mode))), took)
}

// Compensation counts a compensation that came into a state.
func (m *Metrics) Compensation(ctx context.Context, state wflo.CompensationState) {
	m.inc(ctx, m.recovery.compensations.WithLabelValues(m.states.admit(string(state))))
}

// SnapshotsCollected counts what a round of the collector removed: snapshots, blobs,
// and the bytes of these.
func (m *Metrics) SnapshotsCollected(snapshots, blobs int, size int64) {
	m.recovery.dropped.Add(float64(max(snapshots, 0)))
	m.recovery.blobs.Add(float64(max(blobs, 0)))
	m.recovery.blobSize.Add(float64(max(size, 0)))
}

package faultpoint

import "slices"

// Point is a place in the code where tests break things. What is hit is its name with
// ":before" and ":after" behind it, of which a few have only the first.
type Point struct {
	// Name has a star where the code puts in what it is about.
	Name string
	// Apart says why the standard scenario does not come by it, or what does instead.
	// Empty means that it does.
	Apart string
}

const (
	byRestores = "runs that are taken back from outside come by: TestFaultPoints in cmd/wflo/internal/e2e"
	byPID1     = "only the first sandbox on an engine comes by, with its PID 1: the tests of sandbox/docker"
)

// points are all that there are. A test compares them with the source.
var points = []Point{
	{"ledger.Reserve", ""}, {"ledger.Settle", ""}, {"ledger.OpenHolds", ""}, {"ledger.ClaimAlerts", ""}, {"ledger.AlertDone", ""},
	{"ledger.Release", ""}, {"ledger.Save", ""},
	{"ledger.MarkUnknown", "only a call whose answer is lost comes by: kills bring it about, no plan can"},
	{"logs.Append", ""}, {"logs.Purge", ""},
	{"cache.Get", ""}, {"cache.Put", ""}, {"cache.Lock", ""},
	{"gates.Save", ""}, {"gates.Get", ""}, {"gates.List", ""}, {"gates.UseGrant", ""},
	{"gates.RevokeGrant", "only a rejection after an approval comes by"},
	{"audit.Append", ""},
	{"outbox.Enqueue", ""}, {"outbox.Claim", ""}, {"outbox.Delivered", ""}, {"outbox.Failed", ""}, {"notify.Deliver", ""},
	{"round.*", ""},
	{"postgres.Commit", ""},
	{"engine.ContainerCreate", ""}, {"engine.ContainerAttach", ""}, {"engine.ContainerStart", ""}, {"engine.ContainerInspect", byPID1},
	{"engine.ContainerRemove", ""}, {"engine.ContainerList", ""}, {"engine.CopyToContainer", byPID1}, {"engine.VolumeCreate", ""}, {"engine.VolumeRemove", ""},
	{"engine.ContainerKill", "only a program that does not end comes by"},
	{"part.*.Save", ""}, {"part.*.Check", ""}, {"part.*.Restore", ""},
	{"blob.Put", ""}, {"blob.Get", ""}, {"payload.Put", ""}, {"payload.Get", ""},
	{"places.Get", ""}, {"places.Put.*", ""}, {"places.Drop", ""}, {"places.List", ""},
	{"runs.Describe", byRestores}, {"runs.Query", byRestores}, {"runs.Update", byRestores}, {"runs.Start", byRestores},
	{"store.SaveSnapshot", ""}, {"store.Snapshot", ""}, {"store.ListSnapshots", ""},
	{"store.BeginRestore", ""}, {"store.NoteRestore.*", ""}, {"store.Restored", ""}, {"store.ListRestores", ""},
	{"store.NoteCompensations.*", ""}, {"store.BeginEffect", ""}, {"store.BeginUndo", ""}, {"store.Compensation", ""}, {"store.ListCompensations", ""},
	{"store.AdoptCompensations", byRestores},
}

// Points are all points there are.
func Points() []Point { return slices.Clone(points) }

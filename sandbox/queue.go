package sandbox

import "context"

// OneShot as a specification's Box asks package workflows for a sandbox of its
// own, whose workspace is thrown away with it: there an empty Box means the
// run's. A [Runner] never gets it, because for a Runner an empty Box is one-shot.
const OneShot = "-"

// QueueState is what an execution waits for before it starts.
type QueueState struct {
	// Waiting is true while there is no room, and false once, when there is.
	Waiting bool `json:"waiting"`
	// Reason says what there is no room of, such as "memory of the host".
	Reason string `json:"reason,omitempty"`
	// Position is its place among those that wait like it, from 1; zero if the
	// runner does not know.
	Position int `json:"position,omitempty"`
}

type queueWatch struct{}

// WithQueueWatch returns a context for [Runner.Run] whose runner calls watch when
// the execution has to wait for room, whenever what it waits for changes, and
// with Waiting false when it goes on. watch is called from one goroutine at a
// time and must not block. A runner without a queue never calls it.
func WithQueueWatch(ctx context.Context, watch func(QueueState)) context.Context {
	return context.WithValue(ctx, queueWatch{}, watch)
}

// QueueWatch gives what WithQueueWatch put into ctx, for runners. It is never
// nil.
func QueueWatch(ctx context.Context) func(QueueState) {
	if watch, ok := ctx.Value(queueWatch{}).(func(QueueState)); ok && watch != nil {
		return watch
	}
	return func(QueueState) {}
}

package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
)

// beat is well below the heartbeat timeout of the verbs (10 s), so that a few
// lost heartbeats do not look like a dead worker. It is also how long a halted
// run's program may go on: cancellation comes with the answer to a heartbeat.
const beat = time.Second

// pulse records heartbeats until stop is called, so that the server notices a
// dead worker, and cancellation reaches this attempt, while it waits for a
// model or a program.
func pulse(ctx context.Context, progress func() any) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
				activity.RecordHeartbeat(ctx, progress())
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// Package workflows holds what must never get into deterministic code.
package workflows

import (
	"fmt"
	"net/http" // want depguard
	"time"

	"github.com/google/uuid"             // want depguard
	"github.com/wflo-ai/wflo-go/pricing" // want depguard
	"github.com/wflo-ai/wflo-go/sandbox"
	"go.temporal.io/sdk/workflow"
)

// Clock hands the clock on without calling it.
func Clock() func() time.Time { return time.Now } // want forbidigo

// Repeats has more of the same than linters like to show.
func Repeats() time.Time {
	a := time.Now() // want forbidigo
	b := time.Now() // want forbidigo
	c := time.Now() // want forbidigo
	d := time.Now() // want forbidigo
	return later(a, b, c, d)
}

func later(times ...time.Time) time.Time { return times[0] }

// Deep reads the clock two calls down.
func Deep(ctx workflow.Context) time.Time { return deeper() }

func deeper() time.Time { return deepest() }

func deepest() time.Time { return time.Now() } // want forbidigo

// Order ranges over a map.
func Order(ctx workflow.Context, sizes map[string]int) {
	for name := range sizes {
		fmt.Println(name)
	}
}

// Random draws an id that the next replay would not draw.
func Random(ctx workflow.Context) string { return uuid.NewString() }

// Clean is workflow code as it should be.
func Clean(ctx workflow.Context, box sandbox.Spec) (string, time.Duration) {
	return fmt.Sprint(box, pricing.Rate, http.MethodGet), 2 * time.Second
}

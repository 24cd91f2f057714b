package activities

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

func TestPriors(t *testing.T) {
	for _, tt := range []struct {
		provider, model string
		want            int64 // of a bound of a million
	}{
		{"openai", "gpt-5.4-mini", priorOpenAI}, {"openai", "o3-mini", priorOpenAI}, {"openrouter", "openai/gpt-5.4", priorOpenAI},
		{"google", "gemini-3.5-flash", priorGemini}, {"anthropic", "claude-opus-5", priorClaude}, {"openrouter", "anthropic/claude-opus-5", priorClaude},
		{"openai", "llama-4", priorUnknown}, {"cohere", "command-a-03-2025", priorUnknown}, {"", "", priorUnknown},
	} {
		var s Estimator
		if got := s.estimate(sizeKeyOf(tt.provider, tt.model, wflo.Run{}), million); got != tt.want+1 {
			t.Errorf("%s/%s: %d, want %d", tt.provider, tt.model, got, tt.want+1)
		}
	}
}

// TestEstimateHolds draws what calls are counted as: the estimate is never above
// the bound, and once enough is known it is above the largest ratio that is
// remembered, so that a prompt like the ones before fits.
func TestEstimateHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Estimator
		key := sizeKey{"p", "m", "s"}
		n := rapid.IntRange(0, 3*window).Draw(t, "calls")
		var seen []int64
		for range n {
			bound := rapid.Int64Range(100, 1_000_000).Draw(t, "bound")
			counted := rapid.Int64Range(1, bound).Draw(t, "counted")
			s.learn(key, bound, counted)
			seen = append(seen, (counted*million+bound-1)/bound)
		}
		bound := rapid.Int64Range(1, math.MaxInt64).Draw(t, "bound")
		got := s.estimate(key, bound)
		if got < 1 || got > bound {
			t.Fatalf("estimate %d of a bound of %d", got, bound)
		}
		if n < learned || bound > 1<<40 {
			return
		}
		for _, ratio := range seen[max(0, n-window):] {
			if got < bound/million*ratio {
				t.Fatalf("estimate %d of %d is below a ratio of %d that was seen", got, bound, ratio)
			}
		}
	})
}

// TestEstimateStepByStep knows steps apart, and takes the model's ratio for a
// step that it does not know.
func TestEstimateStepByStep(t *testing.T) {
	var s Estimator
	dense := sizeKeyOf("p", "m", wflo.Run{Agent: "a", Step: "code#1"})
	for range learned {
		s.learn(dense, 1000, 500)
	}
	if got := s.estimate(dense, 1000); got != 551 {
		t.Errorf("a step that is known: %d, want its half and a tenth of that", got)
	}
	if got := s.estimate(sizeKeyOf("p", "m", wflo.Run{Agent: "a", Step: "code#2"}), 1000); got != 551 {
		t.Errorf("the same step another time: %d", got)
	}
	thin := sizeKeyOf("p", "m", wflo.Run{Agent: "a", Step: "prose#1"})
	if got := s.estimate(thin, 1000); got != 551 {
		t.Errorf("another step: %d, want that of the model", got)
	}
	for range learned {
		s.learn(thin, 1000, 250)
	}
	if got := s.estimate(thin, 1000); got != 276 {
		t.Errorf("another step that is known: %d", got)
	}
	if got := s.estimate(sizeKeyOf("p", "other", wflo.Run{}), 1000); got != 626 {
		t.Errorf("another model: %d, want the prior", got)
	}
}

// TestSizesAreBounded learns of more steps than are remembered, from many calls
// at the same time.
func TestSizesAreBounded(t *testing.T) {
	var s Estimator
	known := sizeKey{"p", "m", "known"}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range maxSizes {
				s.learn(sizeKey{"p", "m", fmt.Sprint(i, n)}, 100, 10)
				s.learn(known, 100, 90)
				s.estimate(known, 100)
			}
		})
	}
	wg.Wait()
	if len(s.steps) > maxSizes {
		t.Errorf("%d steps are remembered", len(s.steps))
	}
	if got := s.estimate(known, 1000); got != 991 {
		t.Errorf("a step in use was forgotten: %d", got)
	}
	for _, absurd := range []int64{0, -1, math.MaxInt64, math.MinInt64} {
		s.learn(known, absurd, 5)
		s.learn(known, 5, absurd)
		if got := s.estimate(known, 1000); got < 1 || got > 1000 {
			t.Errorf("after %d: %d", absurd, got)
		}
	}
}

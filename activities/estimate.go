package activities

import (
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/wflo-ai/wflo-go"
)

const (
	// million is the unit of ratios: prompt tokens that were counted, per million
	// of the bound that pricing.InputBound gives.
	million = 1_000_000
	// maxRatio bounds a ratio, against servers that report nonsense.
	maxRatio = 10 * million
	// window is how many calls are remembered of one step, the latest ones.
	window = 64
	// learned is how many calls must be known for their ratios to count.
	learned = 8
	// maxSizes bounds the steps that are remembered.
	maxSizes = 2048
)

// Ratios to begin with, of tokens per million bytes and a quarter more. OpenAI
// and Gemini have about 3.5 bytes of text per token at the least, Claude 2.5
// since its version 4.7 and more before; of others nothing is known, so two.
const (
	priorOpenAI  = 357_143 // 1/3.5 and 25 %
	priorGemini  = 357_143 // 1/3.5 and 25 %
	priorClaude  = 500_000 // 1/2.5 and 25 %
	priorUnknown = 625_000 // 1/2 and 25 %
)

// Estimator estimates prompts from what like prompts were counted as. It keeps, for
// each step of an agent with a model, the ratio of counted tokens to bytes of
// the latest calls. Its zero value is ready. It may be used at the same time, and
// must not be copied.
//
// The estimate is the 99th percentile of these ratios (with 64 calls, their
// largest), and on top a tenth of it or half its distance from the median,
// whichever is more: a step whose prompts vary gets a wider margin. It is never
// above the bound of bytes. How well it holds is what Observer.LLMEstimate says.
type Estimator struct {
	mu    sync.Mutex
	steps map[sizeKey]*ratios
	clock uint64
}

type sizeKey struct{ provider, model, step string }

// sizeKeyOf names the step of an agent: prompts of one step are alike.
func sizeKeyOf(provider, model string, run wflo.Run) sizeKey {
	return sizeKey{provider, model, run.Workflow + "/" + run.Agent + "/" + run.StepName()}
}

// whole is the key for all steps with a model.
func (k sizeKey) whole() sizeKey { return sizeKey{provider: k.provider, model: k.model} }

// ratios are those of the latest calls, and what follows from them.
type ratios struct {
	last   []int64
	next   int
	used   uint64 // for what was not used for longest
	factor int64
}

// Size is how large a prompt is, in tokens.
type Size struct {
	// Bound is the most that it can be counted as: one token a byte.
	Bound int64
	// Dense is the part of Bound for what DenseBytes finds in its texts.
	Dense int64
}

// Estimate is how many tokens to reserve for a prompt of the run's step. What is
// dense counts in full.
func (e *Estimator) Estimate(run wflo.Run, provider, model string, s Size) int64 {
	dense := min(max(0, s.Dense), s.Bound)
	return dense + e.estimate(sizeKeyOf(provider, model, run), s.Bound-dense)
}

// Learn takes in what a prompt of the run's step was counted as. One that is
// dense for an eighth or more teaches nothing: what of its tokens belongs to the
// rest is not known.
func (e *Estimator) Learn(run wflo.Run, provider, model string, s Size, counted int64) {
	if s.Dense < s.Bound/8 {
		e.learn(sizeKeyOf(provider, model, run), s.Bound, counted)
	}
}

// estimate is how many tokens to reserve for a prompt with such a bound.
func (e *Estimator) estimate(key sizeKey, bound int64) int64 {
	e.mu.Lock()
	factor := prior(key.provider, key.model)
	for _, k := range []sizeKey{key, key.whole()} {
		if r := e.steps[k]; r != nil && len(r.last) >= learned {
			e.clock++
			r.used, factor = e.clock, r.factor
			break
		}
	}
	e.mu.Unlock()
	if factor >= million || bound > math.MaxInt64/million {
		return bound
	}
	return min(bound, bound*factor/million+1)
}

// learn takes in what a prompt with such a bound was counted as.
func (e *Estimator) learn(key sizeKey, bound, counted int64) {
	if bound <= 0 || counted <= 0 {
		return
	}
	ratio := int64(maxRatio)
	if counted < math.MaxInt64/million {
		ratio = min(maxRatio, (counted*million+bound-1)/bound)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range []sizeKey{key, key.whole()} {
		e.of(k).add(ratio)
	}
}

// of finds or makes the ratios for a key.
func (e *Estimator) of(k sizeKey) *ratios {
	e.clock++
	if e.steps == nil {
		e.steps = make(map[sizeKey]*ratios)
	}
	r := e.steps[k]
	if r == nil {
		if len(e.steps) >= maxSizes {
			e.forget()
		}
		r = &ratios{}
		e.steps[k] = r
	}
	r.used = e.clock
	return r
}

// forget drops what was not used for longest.
func (e *Estimator) forget() {
	var oldest sizeKey
	least := uint64(math.MaxUint64)
	for k, r := range e.steps {
		if r.used < least {
			oldest, least = k, r.used
		}
	}
	delete(e.steps, oldest)
}

func (r *ratios) add(ratio int64) {
	if len(r.last) < window {
		r.last = append(r.last, ratio)
	} else {
		r.last[r.next] = ratio
		r.next = (r.next + 1) % window
	}
	sorted := slices.Sorted(slices.Values(r.last))
	n := len(sorted)
	median, high := sorted[n/2], sorted[min(n-1, n*99/100)]
	r.factor = high + max(high/10, (high-median)/2)
}

// prior is the ratio for a model that nothing is known of yet.
func prior(provider, model string) int64 {
	if _, after, ok := strings.Cut(model, "/"); ok {
		model = after // of a gateway, which names the vendor as well
	}
	has := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(model, p) })
	}
	switch {
	case provider == "anthropic" || has("claude"):
		return priorClaude
	case has("gpt-", "chatgpt", "o1", "o3", "o4", "text-embedding-"):
		return priorOpenAI
	case has("gemini"):
		return priorGemini
	}
	return priorUnknown
}

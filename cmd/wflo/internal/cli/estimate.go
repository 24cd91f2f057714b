package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/pricing"
)

// maxPrompt is larger than any context window so far.
const maxPrompt = 64 << 20

// callFlags are a model call as people write it.
type callFlags struct {
	flags     *pflag.FlagSet
	book      bookFlags
	prompt    string
	tier      string
	maxTokens int64
	calls     int64
}

func (f *callFlags) add(flags *pflag.FlagSet) {
	f.flags = flags
	f.book.add(flags)
	flags.StringVar(&f.prompt, "prompt-file", "", "the prompt, or - for standard input (default: an empty one)")
	flags.StringVar(&f.tier, "tier", "", "the service tier or region that bills, such as batch, priority or geo:us; see wflo prices show MODEL (default: the standard one)")
	flags.Int64Var(&f.maxTokens, "max-tokens", activities.DefaultMaxTokens, "the longest answer, in tokens, reasoning included (also WFLO_MAX_TOKENS)")
	flags.Int64Var(&f.calls, "calls", 1, "how many such calls")
}

// read checks the flags and gives the call.
func (f *callFlags) read(ctx context.Context, a *app) (wflo.Prompt, error) {
	if err := f.longest(); err != nil {
		return wflo.Prompt{}, err
	}
	switch {
	case strings.ContainsAny(f.tier, "#*"):
		return wflo.Prompt{}, Usage("name one, such as batch; see: wflo prices show MODEL", "--tier is %q", f.tier)
	case f.maxTokens < 1:
		return wflo.Prompt{}, Usage("give a positive number; a call without a limit has no worst case", "--max-tokens is %d", f.maxTokens)
	case f.calls < 1:
		return wflo.Prompt{}, Usage("give a positive number", "--calls is %d", f.calls)
	case f.prompt == "":
		a.note("no --prompt-file: the prompt is taken to be empty")
	}
	var text []byte
	if f.prompt != "" {
		var err error
		if text, err = a.readInput(ctx, f.prompt, maxPrompt); err != nil {
			return wflo.Prompt{}, err
		}
	}
	return wflo.Prompt{Messages: []wflo.Message{{Role: wflo.RoleUser, Text: string(text)}}, MaxTokens: f.maxTokens}, nil
}

// longest takes the longest answer from where a worker takes it, when no flag
// says it.
func (f *callFlags) longest() error {
	given := os.Getenv("WFLO_MAX_TOKENS")
	if given == "" || f.flags.Changed("max-tokens") {
		return nil
	}
	n, err := strconv.ParseInt(given, 10, 64)
	if err != nil || n < 1 {
		return Usage("use a positive number of tokens", "WFLO_MAX_TOKENS is %q", given)
	}
	f.maxTokens = n
	return nil
}

// callEstimate is what a call to a model costs, at least and at most.
type callEstimate struct {
	Model     string `json:"model"`
	Tier      string `json:"service_tier,omitempty"`
	PriceID   string `json:"price_id"`
	Calls     int64  `json:"calls"`
	MaxTokens int64  `json:"max_tokens"`
	// InputBound says where InputTokensMost is from: no tokenizer is known.
	InputBound      string     `json:"input_bound"`
	PromptBytes     int64      `json:"prompt_bytes"`
	InputTokens     int64      `json:"input_tokens_least"`
	InputTokensMost int64      `json:"input_tokens_most"`
	Least           wflo.Money `json:"least"`
	Most            wflo.Money `json:"most"`
	// Reserved is what a strict worker reserves: more than Most in a service tier,
	// because the standard one may answer.
	Reserved      wflo.Money `json:"reserved"`
	LeastOfAll    wflo.Money `json:"least_of_all_calls"`
	MostOfAll     wflo.Money `json:"most_of_all_calls"`
	ContextWindow int64      `json:"context_window,omitempty"`
	Fits          bool       `json:"fits"` // false when the window is surely too small
}

// estimate prices one call as a strict worker reserves it, or as the service tier
// that is asked about bills it.
func (f *callFlags) estimate(book *pricing.Book, asked string, at time.Time, prompt wflo.Prompt) (callEstimate, error) {
	model, tier := pricing.SplitTier(asked)
	tier = cmp.Or(f.tier, tier)
	d, err := book.Describe("", model, at)
	if err != nil {
		return callEstimate{}, err
	}
	if d.ID != "*" {
		model = d.Provider + "/" + d.ID
	}
	billed := pricing.WithTier(model, tier)
	bound := pricing.InputBound(prompt)
	dear, err := book.FindWorst("", billed, at, bound)
	if err != nil {
		return callEstimate{}, err
	}
	_, words := pricing.Floor(dear, prompt)
	cheap, err := book.Find("", billed, at, words)
	if err != nil {
		return callEstimate{}, err
	}
	e := callEstimate{
		Model: model, Tier: tier, PriceID: dear.ID, Calls: f.calls, MaxTokens: f.maxTokens, InputBound: "bytes", PromptBytes: int64(len(prompt.Messages[0].Text)),
		ContextWindow: d.ContextWindow, Fits: d.ContextWindow == 0 || words <= d.ContextWindow-min(f.maxTokens, d.ContextWindow),
	}
	e.Least, e.InputTokens = pricing.Floor(cheap, prompt)
	e.Most, e.InputTokensMost = pricing.Estimate(dear, prompt)
	e.Reserved = e.Most
	if tier != "" {
		e.PriceID = cheap.ID
		if e.Most, err = mostIn(book, d, billed, at, words, prompt); err != nil {
			return callEstimate{}, err
		}
	}
	e.LeastOfAll, e.MostOfAll = times(e.Least, f.calls), times(e.Most, f.calls)
	return e, nil
}

// mostIn is the most that a call costs where a service tier certainly answers: at
// the dearest of its sizes that the prompt may have.
func mostIn(book *pricing.Book, d pricing.Description, billed string, at time.Time, words int64, prompt wflo.Prompt) (most wflo.Money, err error) {
	bound := pricing.InputBound(prompt)
	sizes := []int64{words, bound}
	for _, r := range d.Rates {
		tiers := r.Tiers
		for _, s := range r.Services {
			tiers = slices.Concat(tiers, s.Tiers)
		}
		for _, t := range tiers {
			if r.InForce && words < t.PromptTokens && t.PromptTokens <= bound {
				sizes = append(sizes, t.PromptTokens)
			}
		}
	}
	for _, n := range sizes {
		price, err := book.Find("", billed, at, n)
		if err != nil {
			return 0, err
		}
		cost, _ := pricing.Estimate(price, prompt)
		most = max(most, cost)
	}
	return most, nil
}

// times multiplies an amount that is not negative. It saturates.
func times(m wflo.Money, n int64) wflo.Money {
	if n > 0 && m > math.MaxInt64/wflo.Money(n) {
		return math.MaxInt64
	}
	return m * wflo.Money(n)
}

// amount shows money exactly, and says when there is more than fits.
func amount(m wflo.Money) string {
	if m == math.MaxInt64 {
		return "more than " + m.String()
	}
	return m.String()
}

func (a *app) costEstimateCmd() *cobra.Command {
	var call callFlags
	var model string
	var past pastFlags
	cmd := &cobra.Command{
		Use:   "estimate",
		Short: "Say what a call costs at least and at most, or what runs have cost",
		Long: `Say what a call to a model costs at least and at most. At most is what a strict
worker reserves from budgets before the call: the prompt's bytes counted as tokens,
all at the dearest rate that may hold, and the longest answer. At least is one token
a word from the cache, and no answer. Nothing is sent anywhere. With --tier, it is what
the call costs if that service tier bills it; a tier that may be dearer and has no
price is refused.

With --workflow, say what runs of a workflow type have cost, as the worker's ledger
has it: half of them at most p50, nine of ten at most p90.`,
		Example: "  wflo cost estimate --workflow wflo.Agent --since 14d\n  wflo cost estimate --model gpt-5.4 --prompt-file task.txt --max-tokens 2000 --calls 100\n  echo 'Name a colour' | wflo cost estimate --model claude-haiku-4-5 --prompt-file - -o json\n  wflo cost estimate --model claude-haiku-4-5 --tier batch --prompt-file task.txt",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if past.workflow != "" {
				return a.estimatePast(cmd, past)
			}
			if model == "" {
				return Usage("name one of: wflo prices list", "--model is missing")
			}
			book, at, err := call.book.open(cmd.Context(), a)
			if err != nil {
				return err
			}
			prompt, err := call.read(cmd.Context(), a)
			if err != nil {
				return err
			}
			e, err := call.estimate(book, model, at, prompt)
			if err != nil {
				return err
			}
			return a.printEstimate(e)
		},
	}
	call.add(cmd.Flags())
	cmd.Flags().StringVar(&model, "model", "", "the model, as in gpt-5.4 or openai/gpt-5.4")
	past.add(cmd.Flags())
	return cmd
}

func (a *app) printEstimate(e callEstimate) error {
	if a.format != formatText {
		return a.printJSON(e)
	}
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "model\t%s\n", escapeLine(e.Model))
	if e.Tier != "" {
		fmt.Fprintf(w, "tier\t%s\n", escapeLine(e.Tier))
	}
	fmt.Fprintf(w, "price\t%s\n", escapeLine(e.PriceID))
	fmt.Fprintf(w, "input\t%d to %d tokens\nanswer\tup to %d tokens\n", e.InputTokens, e.InputTokensMost, e.MaxTokens)
	fmt.Fprintf(w, "a call\tat least %s\tat most %s\n", amount(e.Least), amount(e.Most))
	if e.Calls > 1 {
		fmt.Fprintf(w, "%d calls\tat least %s\tat most %s\n", e.Calls, amount(e.LeastOfAll), amount(e.MostOfAll))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	a.note("no tokenizer is known for %s: the input is bounded by its %d bytes and an allowance for the provider's template;\n"+
		"English text has about four bytes per token", escapeLine(e.Model), e.PromptBytes)
	if e.Reserved > e.Most {
		a.note("a strict worker reserves %s for a call, because the standard service may answer instead of %s", amount(e.Reserved), escapeLine(e.Tier))
	}
	if !e.Fits {
		a.note("the prompt and the answer do not fit the context window of %d tokens", e.ContextWindow)
	}
	return nil
}

func (a *app) costCompareCmd() *cobra.Command {
	var call callFlags
	var models []string
	var provider string
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare what the same call costs with several models, the cheapest first",
		Long: `Compare what the same call costs with several models, by the most that it can
cost, the cheapest first. Without --model these are all current chat models whose
context window is not surely too small. The same text has other token counts with
other models, by a fifth to a half between vendors, so close costs are no order.`,
		Example: "  wflo cost compare --prompt-file task.txt --provider openai\n  wflo cost compare --prompt-file task.txt --max-tokens 500 --model gpt-5.4 --model claude-haiku-4-5\n  wflo cost compare --prompt-file task.txt --tier batch --provider anthropic",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(models) > 0 && provider != "" {
				return Usage("give one of them", "--model and --provider exclude each other")
			}
			return a.costCompare(cmd.Context(), call, models, provider)
		},
	}
	call.add(cmd.Flags())
	cmd.Flags().StringArrayVar(&models, "model", nil, "a model, as in gpt-5.4 or openai/gpt-5.4; repeat it for more")
	cmd.Flags().StringVar(&provider, "provider", "", "all current chat models of this provider")
	return cmd
}

func (a *app) costCompare(ctx context.Context, call callFlags, models []string, provider string) error {
	book, at, err := call.book.open(ctx, a)
	if err != nil {
		return err
	}
	if err := knownProvider(book, provider); err != nil {
		return err
	}
	prompt, err := call.read(ctx, a)
	if err != nil {
		return err
	}
	named := len(models) > 0
	if !named {
		models = currentModels(book, provider)
	}
	var list []callEstimate
	for _, m := range models {
		e, err := call.estimate(book, m, at, prompt)
		if err != nil && !named && wflo.CodeOf(err) == wflo.CodeUnknownModel {
			continue // not in force on that day
		}
		if err != nil {
			return err
		}
		if named || e.Fits {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(x, y callEstimate) int {
		return cmp.Or(cmp.Compare(x.Most, y.Most), cmp.Compare(x.Least, y.Least), cmp.Compare(x.Model, y.Model), cmp.Compare(x.Tier, y.Tier))
	})
	list = slices.CompactFunc(list, func(x, y callEstimate) bool { return x.Model == y.Model && x.Tier == y.Tier })
	if err := printAll(a, list, []string{"MODEL", "AT LEAST", "AT MOST", "FITS"}, func(e callEstimate) []string {
		fits := "yes"
		if !e.Fits {
			fits = "no"
		}
		return []string{pricing.WithTier(e.Model, e.Tier), amount(e.LeastOfAll), amount(e.MostOfAll), fits}
	}); err != nil {
		return err
	}
	if a.format == formatText {
		if call.tier != "" && !named {
			a.note("without models that may be dearer in the service tier %s and have no price for it", escapeLine(call.tier))
		}
		a.note("calls: %d, answers of up to %d tokens; no tokenizer is known: the input is bounded by its %d bytes", call.calls, call.maxTokens, len(prompt.Messages[0].Text))
	}
	return nil
}

// currentModels are the chat models that a provider, or all of them, sells now.
func currentModels(book *pricing.Book, provider string) []string {
	var names []string
	for _, m := range book.Models() {
		if m.Mode == "chat" && m.Status == "current" && m.ID != "*" && (provider == "" || m.Provider == provider) {
			names = append(names, m.Provider+"/"+m.ID)
		}
	}
	return names
}

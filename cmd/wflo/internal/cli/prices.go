package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// maxPriceFile is more than package pricing takes, which says so.
const maxPriceFile = 16<<20 + 1

// bookFlags say which prices hold, and when.
type bookFlags struct{ file, at string }

func (f *bookFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.file, "prices", "", "your price book, whose rows stand above the built-in ones (also WFLO_PRICES)")
	flags.StringVar(&f.at, "at", "", "the day, such as 2026-12-01, or a time as in 2026-12-01T13:00:00Z; a day is its first moment in UTC (default now)")
}

// path is the price book of the operator, or empty.
func (f bookFlags) path() string {
	if f.file != "" {
		return f.file
	}
	return os.Getenv("WFLO_PRICES")
}

func (f bookFlags) moment() (time.Time, error) {
	if f.at == "" {
		return time.Now().UTC(), nil
	}
	for _, format := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(format, f.at); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, Usage("write a day as in 2026-12-01, or a time as in 2026-12-01T13:00:00Z", "--at is %q", f.at)
}

// open gives the prices in use and the moment that is asked about.
func (f bookFlags) open(ctx context.Context, a *app) (*pricing.Book, time.Time, error) {
	at, err := f.moment()
	if err != nil {
		return nil, at, err
	}
	book, err := pricing.Load()
	if err != nil || f.path() == "" {
		return book, at, err
	}
	_, own, err := a.readPrices(ctx, f.path())
	if err != nil {
		return nil, at, err
	}
	return book.With(own), at, nil
}

// readPrices reads a price file that must be free of mistakes.
func (a *app) readPrices(ctx context.Context, path string) ([]byte, *pricing.Book, error) {
	data, err := a.readInput(ctx, path, maxPriceFile)
	if err != nil {
		return nil, nil, err
	}
	book, err := pricing.Parse(strings.NewReader(string(data)))
	if err != nil {
		problems := pricing.Check(data)
		if len(problems) == 0 {
			return nil, nil, fmt.Errorf("price book %s: %w", path, err)
		}
		return nil, nil, wflo.Errorf(wflo.CodeInvalid, "see all that is wrong with it: wflo prices lint "+shellWord(path),
			"price book %s:%d: %s", path, problems[0].Line, problems[0].Message)
	}
	return data, book, nil
}

// readInput reads a file, or standard input for "-", of at most so many bytes.
func (a *app) readInput(ctx context.Context, path string, most int64) ([]byte, error) {
	if path == "-" {
		return a.stdin(ctx, most, "give a smaller file")
	}
	about, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, wflo.Errorf(wflo.CodeInvalid, "check the path; - reads standard input", "read file: %w", err)
	case about.IsDir():
		return nil, wflo.Errorf(wflo.CodeInvalid, "name a file in it", "%s is a directory", path)
	case about.Size() > most:
		return nil, wflo.Errorf(wflo.CodeInvalid, "give a smaller file", "%s has %d bytes, more than %d", path, about.Size(), most)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "check the path and who may read it", "read file: %w", err)
	}
	return data, nil
}

func (a *app) pricesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prices",
		Short: "See what models cost, and keep your own price book",
		Long: `See what models cost, and keep a price book of your own, whose rows stand
above the built-in ones wherever WFLO_PRICES names it. Prices are never fetched:
they change when you change them. Rates are in US dollars per million tokens.

What a call costs with them: wflo cost estimate, wflo cost compare.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.pricesListCmd(), a.pricesShowCmd(), a.pricesLintCmd(), a.pricesDiffCmd(), a.pricesImportCmd())
	return cmd
}

// groupArgs refuses what is no command of a group, with suggestions.
func groupArgs(cmd *cobra.Command, given []string) error {
	if len(given) > 0 {
		return asUsage(fmt.Errorf("unknown command %q for %q%s", given[0], cmd.CommandPath(), suggested(cmd, given[0])))
	}
	return nil
}

// listedPrice is a model in a list. Rates are USD per million tokens.
type listedPrice struct {
	pricing.Model
	Priced     bool       `json:"priced"`
	PriceID    string     `json:"price_id,omitempty"`
	Input      string     `json:"input,omitempty"`
	CacheRead  string     `json:"cache_read,omitempty"`
	Output     string     `json:"output,omitempty"`
	PerRequest wflo.Money `json:"per_request,omitempty"`
	PerSecond  string     `json:"per_second,omitempty"` // USD per second
	// Tiers are the service tiers and regions that have a price of their own in
	// the rate in force.
	Tiers []string `json:"service_tiers,omitempty"`
}

func (a *app) pricesListCmd() *cobra.Command {
	var book bookFlags
	var provider string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List models with the rates in force, in dollars per million tokens",
		Example: "  wflo prices list\n  wflo prices list --provider anthropic --at 2026-06-01\n  wflo prices list --prices own.json -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.pricesList(cmd.Context(), book, provider)
		},
	}
	book.add(cmd.Flags())
	cmd.Flags().StringVar(&provider, "provider", "", "only models of this provider")
	return cmd
}

func (a *app) pricesList(ctx context.Context, flags bookFlags, provider string) error {
	book, at, err := flags.open(ctx, a)
	if err != nil {
		return err
	}
	var list []listedPrice
	for _, m := range book.Models() {
		if provider != "" && m.Provider != provider {
			continue
		}
		p := listedPrice{Model: m}
		if price, err := book.Find(m.Provider, m.ID, at, 0); err == nil {
			p.Priced, p.PriceID, p.PerRequest = true, price.ID, price.PerRequest
			p.Input, p.CacheRead, p.Output = pricing.PerMillion(price.Input), pricing.PerMillion(price.CacheRead), pricing.PerMillion(price.Output)
			if price.PerSecond > 0 {
				p.PerSecond = pricing.PerSecond(price.PerSecond)
			}
			if d, err := book.Describe(m.Provider, m.ID, at); err == nil {
				p.Tiers = tiersInForce(d)
			}
		}
		list = append(list, p)
	}
	if err := knownProvider(book, provider); err != nil {
		return err
	}
	return printAll(a, list, []string{"MODEL", "MODE", "STATUS", "INPUT", "CACHED", "OUTPUT", "TIERS", "BOOK"}, func(p listedPrice) []string {
		whose := "built-in"
		if p.Override {
			whose = "yours"
		}
		return []string{p.Provider + "/" + p.ID, p.Mode, p.Status, p.Input, p.CacheRead, p.Output, strings.Join(p.Tiers, " "), whose}
	})
}

// knownProvider refuses a provider without rows.
func knownProvider(book *pricing.Book, provider string) error {
	var names []string
	for _, m := range book.Models() {
		if m.Provider == provider || provider == "" {
			return nil
		}
		if len(names) == 0 || names[len(names)-1] != m.Provider {
			names = append(names, m.Provider)
		}
	}
	return Usage("use "+strings.Join(names, ", "), "--provider is %q, which has no prices", provider)
}

func (a *app) pricesShowCmd() *cobra.Command {
	var book bookFlags
	cmd := &cobra.Command{
		Use:     "show MODEL",
		Short:   "Show all that is known of a model's price, with dates and source",
		Example: "  wflo prices show gpt-5.4\n  wflo prices show anthropic/claude-haiku-4-5 --at 2026-06-01\n  wflo prices show deepseek-v4-flash -o json",
		Args:    args("MODEL"),
		RunE: func(cmd *cobra.Command, given []string) error {
			prices, at, err := book.open(cmd.Context(), a)
			if err != nil {
				return err
			}
			d, err := prices.Describe("", given[0], at)
			if err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(d)
			}
			return a.pricesShow(d)
		},
	}
	book.add(cmd.Flags())
	return cmd
}

func (a *app) pricesShow(d pricing.Description) error {
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, escapeLine(value))
		}
	}
	whose := "built-in"
	if d.Override {
		whose = "yours"
	}
	line("model", d.Provider+"/"+d.ID)
	line("aliases", strings.Join(d.Aliases, ", "))
	line("mode", d.Mode+", "+d.Status)
	line("unit", d.Unit)
	if d.ContextWindow > 0 {
		line("context", fmt.Sprintf("%d tokens", d.ContextWindow))
	}
	line("book", whose)
	line("source", strings.TrimSpace(d.Source+" "+d.SourceDate))
	line("page read", d.PageChecked)
	line("confirmed", strings.Join(d.ConfirmedBy, ", "))
	line("disputed", strings.Join(d.Contradicted, ", "))
	line("note", d.Note)
	if !d.PriceIsUsable {
		line("priced", "no: a call to it is refused on "+d.InForceAt)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return a.pricesRates(d)
}

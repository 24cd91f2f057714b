package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// mostFactor is by how much an import may change a rate without --force. A slip
// of the unit is a thousand, and real prices seldom move more.
const mostFactor = 5

// mostJumps is how many such changes an error names.
const mostJumps = 8

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func (a *app) pricesLintCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "lint FILE",
		Short:   "List every mistake in a price book, by line",
		Example: "  wflo prices lint own.json\n  generate-prices | wflo prices lint -",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.pricesLint(cmd.Context(), given[0])
		},
	}
}

func (a *app) pricesLint(ctx context.Context, path string) error {
	data, err := a.readInput(ctx, path, maxPriceFile)
	if err != nil {
		return err
	}
	problems := pricing.Check(data)
	if a.format == formatText {
		for _, p := range problems {
			fmt.Fprintf(a.deps.Stdout, "%s:%d: %s\n    %s\n", escapeLine(path), p.Line, escapeLine(p.Message), escapeLine(p.Hint))
		}
	} else if err := printAll(a, problems, nil, nil); err != nil {
		return err
	}
	if len(problems) > 0 {
		return wflo.Errorf(wflo.CodeInvalid, "mend them; nothing is priced with the file until then", "%s has mistakes: %d", path, len(problems))
	}
	a.note("%s has no mistakes", escapeLine(path))
	return nil
}

func (a *app) pricesDiffCmd() *cobra.Command {
	var book bookFlags
	cmd := &cobra.Command{
		Use:   "diff [OLD] NEW",
		Short: "Compare two price books, or say what one would change",
		Long: `Compare two price books, or say what laying one over the prices in use would
change. Rates are compared as they are charged, over all dates, hours and prompt
sizes, with the factor of each change.`,
		Example: "  wflo prices diff own.json\n  wflo prices diff old.json new.json -o json",
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) == 1 {
				return nil
			}
			return args("OLD", "NEW")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			ctx := cmd.Context()
			if len(given) == 2 {
				if book.file != "" {
					return Usage("leave it out, or name one file", "--prices is of no use between two files")
				}
				_, before, err := a.readPrices(ctx, given[0])
				if err != nil {
					return err
				}
				_, after, err := a.readPrices(ctx, given[1])
				if err != nil {
					return err
				}
				return a.printChanges(pricing.Diff(before, after))
			}
			before, _, err := book.open(ctx, a)
			if err != nil {
				return err
			}
			_, own, err := a.readPrices(ctx, given[0])
			if err != nil {
				return err
			}
			return a.printChanges(pricing.Diff(before, before.With(own)))
		},
	}
	cmd.Flags().StringVar(&book.file, "prices", "", "your price book, for diff NEW (also WFLO_PRICES)")
	return cmd
}

func (a *app) printChanges(changes []pricing.Change) error {
	if len(changes) == 0 && a.format == formatText {
		a.note("no difference")
	}
	return printAll(a, changes, []string{"MODEL", "CHANGE", "OLD", "NEW", "FACTOR", "FROM", "PROMPT"}, func(c pricing.Change) []string {
		model, what, size := c.Provider+"/"+c.Model, c.Field, ""
		if c.Was != "" {
			model += " (was " + c.Was + ")"
		}
		if what == "" {
			what = c.Kind
		}
		if c.PromptTokens > 0 {
			size = fmt.Sprintf("%d+", c.PromptTokens)
		}
		return []string{model, what, c.Old, c.New, factor(c), strings.TrimSuffix(c.From, "T00:00:00Z"), size}
	})
}

func factor(c pricing.Change) string {
	switch {
	case c.Kind != pricing.ChangeRate:
		return ""
	case c.Factor == "":
		return "from zero"
	}
	return "x " + c.Factor
}

// importFlags are those of `wflo prices import`.
type importFlags struct {
	into          string
	force, dryRun bool
}

func (a *app) pricesImportCmd() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Merge the rows of a file into your price book",
		Long: `Merge the rows of a file into your price book. No row and no span of dates of
yours gets lost: a rate with the same first day and hours takes the place of its
counterpart, and a later one ends the open one before it.

A change of any rate of a model that has a price by more than a factor of five,
up or down, is refused: it is mostly a slip of the unit. --force allows it.

The file is replaced as a whole or not at all, and keeps its mode. Several imports
at the same time write one after the other.`,
		Example: "  wflo prices import december.json --into own.json --dry-run\n  wflo prices import december.json --into own.json",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.pricesImport(cmd.Context(), given[0], f)
		},
	}
	cmd.Flags().StringVar(&f.into, "into", "", "your price book, which need not exist yet (also WFLO_PRICES)")
	cmd.Flags().BoolVar(&f.force, "force", false, "also change rates by more than a factor of five")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would change, and write nothing")
	return cmd
}

func (a *app) pricesImport(ctx context.Context, from string, f importFlags) error {
	path := f.into
	if path == "" {
		path = os.Getenv("WFLO_PRICES")
	}
	if path == "" || path == "-" {
		return Usage("name your price book, or set WFLO_PRICES", "--into names no file")
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays one
	}
	// What may come from standard input is read before anybody else has to wait.
	incoming, _, err := a.readPrices(ctx, from)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.merge(ctx, path, incoming, f)
	}
	// From reading the old file until the new one is in place.
	unlock, err := lockFile(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(a.merge(ctx, path, incoming, f), unlock())
}

// merge adds rows to the price book at a path, which may not be there yet.
func (a *app) merge(ctx context.Context, path string, incoming []byte, f importFlags) error {
	var own []byte
	book, err := pricing.Load()
	if err != nil {
		return err
	}
	before := book
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		var mine *pricing.Book
		if own, mine, err = a.readPrices(ctx, path); err != nil {
			return err
		}
		before = book.With(mine)
	}
	merged, err := pricing.Merge(own, incoming)
	if err != nil {
		return err
	}
	mine, err := pricing.Parse(bytes.NewReader(merged))
	if err != nil {
		return err
	}
	changes := pricing.Diff(before, book.With(mine))
	if err := a.printChanges(changes); err != nil {
		return err
	}
	if err := refuseJumps(changes, f.force); err != nil {
		return err
	}
	if bytes.Equal(merged, own) {
		a.note("%s has all of it already", escapeLine(path))
		return nil
	}
	if f.dryRun {
		a.note("%s is as it was: this was a dry run", escapeLine(path))
		return nil
	}
	if err := replaceFile(path, own, merged); err != nil {
		return err
	}
	a.note("wrote %s", escapeLine(path))
	return nil
}

// refuseJumps names the rates that change by more than mostFactor.
func refuseJumps(changes []pricing.Change, force bool) error {
	var jumps []string
	for _, c := range changes {
		if c.Beyond(mostFactor) {
			jumps = append(jumps, fmt.Sprintf("%s/%s %s from %s to %s", c.Provider, c.Model, c.Field, c.Old, c.New))
		}
	}
	if len(jumps) == 0 || force {
		return nil
	}
	shown := jumps[:min(len(jumps), mostJumps)]
	if more := len(jumps) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	return wflo.Errorf(wflo.CodeInvalid, "check the unit, which is dollars per million tokens; if they are right, add --force. Nothing was written",
		"%d rates change by more than a factor of %d: %s", len(jumps), mostFactor, strings.Join(shown, "; "))
}

// replaceFile puts data in the place of a file that holds old: as a whole, or
// not at all. A new file is the owner's alone.
func replaceFile(path string, old, data []byte) (err error) {
	mode := fs.FileMode(0o600)
	if about, err := os.Stat(path); err == nil {
		mode = about.Mode().Perm()
	}
	dir := filepath.Dir(path)
	w, err := os.CreateTemp(dir, ".wflo-prices-*")
	if err != nil {
		return wflo.Errorf(wflo.CodeInvalid, "name a file in a directory that exists and may be written", "write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close(), os.Remove(w.Name()))
		}
	}()
	if err := w.Chmod(mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := w.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// An editor takes no lock, and what it wrote meanwhile must not get lost.
	now, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || !bytes.Equal(now, old) {
		return wflo.Errorf(wflo.CodeConflict, "import again", "%s was changed by somebody else meanwhile", path)
	}
	if err := os.Rename(w.Name(), path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return w.Close()
}

package pricing

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wflo-ai/wflo-go"
)

//go:embed prices.json
var embedded []byte

// maxFile bounds a price file: the embedded one is below 100 KB.
const maxFile = 16 << 20

// formatVersion is the only version of the file format so far.
const formatVersion = 1

// Book holds price rows. It does not change once made, so any number of
// goroutines may read it.
type Book struct {
	rows    []row
	date    string
	names   map[name]int     // model ids and aliases, to their rows
	spans   [][]span         // of each row
	selling map[string][]int // ids and aliases, to the rows of all providers
	habits  map[string]providerHabits
}

// name is an id or an alias at a provider.
type name struct{ provider, model string }

// Load parses the embedded price book. Its error would be a mistake of the
// build, which the tests of this package rule out.
func Load() (*Book, error) { return Parse(bytes.NewReader(embedded)) }

var loadOnce = sync.OnceValues(Load)

// Default is the embedded price book, parsed once per process. It panics if that
// does not parse; use [Load] to get the error instead.
func Default() *Book {
	b, err := loadOnce()
	if err != nil {
		panic(err)
	}
	return b
}

// Parse reads a price file and checks it. What is wrong with it comes as
// *wflo.Error with CodeInvalid, each naming row and field, all of them joined.
func Parse(r io.Reader) (*Book, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, wflo.Invalid("prices", "are larger than "+strconv.Itoa(maxFile)+" bytes", "keep the rows that differ from the embedded book")
	}
	var f file
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "see README.md of package pricing for the format", "prices at byte %d: %w", dec.InputOffset(), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, wflo.Invalid("prices", "go on after the closing brace", "keep one JSON object in the file")
	}
	if err := lint(f); err != nil {
		return nil, err
	}
	return index(f.Models, f.Date, nil), nil
}

// With returns a book in which overrides wins: a row of overrides replaces the
// row of the same provider and id as a whole, rates of all dates included, but
// keeps its aliases; an id or alias of overrides takes that name from any other
// row of the provider. Neither book is changed.
func (b *Book) With(overrides *Book) *Book {
	taken := map[name]bool{}
	replaced := map[name]int{}
	rows := make([]row, 0, len(b.rows)+len(overrides.rows))
	for _, r := range overrides.rows {
		for _, model := range append([]string{r.ID}, r.Aliases...) {
			taken[name{r.Provider, model}] = true
		}
		r.fromOverrides = true
		r.Aliases = slices.Clone(r.Aliases)
		replaced[name{r.Provider, r.ID}] = len(rows)
		rows = append(rows, r)
	}
	for _, r := range b.rows {
		kept := slices.DeleteFunc(slices.Clone(r.Aliases), func(a string) bool { return taken[name{r.Provider, a}] })
		if i, ok := replaced[name{r.Provider, r.ID}]; ok {
			rows[i].Aliases = append(rows[i].Aliases, kept...)
			continue
		}
		if taken[name{r.Provider, r.ID}] {
			// The id is now another row's alias, and no id can be nobody's.
			continue
		}
		r.Aliases = kept
		rows = append(rows, r)
	}
	// A provider keeps charging for cache writes when the row that said so goes.
	return index(rows, max(b.date, overrides.date), b.habits)
}

// index prepares linted rows for look-ups. known is what is known of providers
// besides.
func index(rows []row, date string, known map[string]providerHabits) *Book {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, c row) int { return strings.Compare(a.name(), c.name()) })
	b := &Book{rows: rows, date: date, names: map[name]int{}, selling: map[string][]int{}, habits: map[string]providerHabits{}}
	maps.Copy(b.habits, known)
	for _, r := range rows {
		b.habits[r.Provider] = b.habits[r.Provider].learn(r)
	}
	for i, r := range rows {
		for _, model := range append([]string{r.ID}, r.Aliases...) {
			b.names[name{r.Provider, model}] = i
			if model != anyModel {
				b.selling[model] = append(b.selling[model], i)
			}
		}
		var spans []span
		for _, x := range r.Rates {
			if x.priced(r) {
				spans = append(spans, x.compile(r, b.habits[r.Provider]))
			}
		}
		b.spans = append(b.spans, spans)
	}
	return b
}

// Model is what the book knows about a model besides its rates.
type Model struct {
	Provider string   `json:"provider"`
	ID       string   `json:"id"` // "*" stands for every model of the provider
	Aliases  []string `json:"aliases,omitempty"`
	// Mode is chat, embedding, rerank, image, realtime or transcription.
	Mode string `json:"mode"`
	// Status is current, legacy, retired or unpriced.
	Status string `json:"status"`
	// Unit is token, request, second, character, audio_hour or search; the first
	// three can be priced.
	Unit string `json:"unit"`
	// ContextWindow is in tokens; zero means unknown.
	ContextWindow int64 `json:"context_window,omitempty"`
	// Source says where the rates were read, SourceDate when (2006-01-02).
	Source     string `json:"source,omitempty"`
	SourceDate string `json:"source_date,omitempty"`
	Note       string `json:"note,omitempty"`
	// Override is set for an operator's own row.
	Override bool `json:"override,omitempty"`
}

// Models lists the book's models by provider and id.
func (b *Book) Models() []Model {
	out := make([]Model, 0, len(b.rows))
	for _, r := range b.rows {
		out = append(out, Model{
			Provider: r.Provider, ID: r.ID, Aliases: slices.Clone(r.Aliases), Mode: r.Mode, Status: r.Status, Unit: r.unit(),
			ContextWindow: r.ContextWindow, Source: r.Source, SourceDate: r.SourceDate, Note: r.Note, Override: r.fromOverrides,
		})
	}
	return out
}

// Date is the day on which the book was put together, as 2006-01-02, or "".
func (b *Book) Date() string { return b.date }

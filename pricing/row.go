package pricing

import (
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Modes, units and statuses that a row may have. README.md explains them.
const (
	modeChat          = "chat"
	modeEmbedding     = "embedding"
	modeRerank        = "rerank"
	modeImage         = "image"
	modeRealtime      = "realtime"
	modeTranscription = "transcription"

	unitToken     = "token"
	unitCharacter = "character"
	unitAudioHour = "audio_hour"
	unitSearch    = "search"

	statusCurrent  = "current"
	statusLegacy   = "legacy"
	statusRetired  = "retired"
	statusUnpriced = "unpriced"

	// anyModel as an id stands for every model of its provider.
	anyModel = "*"
)

// file is the JSON form of a book.
type file struct {
	Version  int    `json:"version"`
	Currency string `json:"currency"`
	Date     string `json:"date,omitempty"`
	Models   []row  `json:"models"`
}

// row is one model of one provider.
type row struct {
	Provider      string   `json:"provider"`
	ID            string   `json:"id"`
	Aliases       []string `json:"aliases,omitempty"`
	Mode          string   `json:"mode"`
	Status        string   `json:"status"`
	Unit          string   `json:"unit,omitempty"` // "" is unitToken
	Free          bool     `json:"free,omitempty"`
	ContextWindow int64    `json:"context_window,omitempty"`
	Rates         []rate   `json:"rates"`

	Source        string   `json:"source,omitempty"`
	SourceDate    string   `json:"source_date,omitempty"`
	PageChecked   string   `json:"provider_page_checked,omitempty"`
	ConfirmedBy   []string `json:"confirmed_by,omitempty"`
	Contradicted  []string `json:"contradicted_by,omitempty"`
	Note          string   `json:"note,omitempty"`
	fromOverrides bool
}

// rate is what a model costs during one span of days, or during some hours of
// each of these days.
type rate struct {
	// From is the first day, Until the day after the last one, in UTC.
	From  string `json:"effective_from,omitempty"`
	Until string `json:"effective_until,omitempty"`
	// Windows are hours of the day in UTC, as start and end.
	Windows [][2]string `json:"utc_windows,omitempty"`
	PerMtok *tokenRates `json:"per_mtok,omitempty"`
	// PerRequest is dollars per call.
	PerRequest string `json:"per_request,omitempty"`
	// Uncounted are rates for what wflo.Usage does not count, kept as facts:
	// they never enter a cost.
	Uncounted map[string]string `json:"uncounted,omitempty"`
	Tiers     []tier            `json:"tiers,omitempty"`
}

// tier is the rates of a whole request from a prompt size on.
type tier struct {
	PromptTokens int64       `json:"prompt_tokens_gte"`
	PerMtok      *tokenRates `json:"per_mtok"`
}

// tokenRates are USD per million tokens. A pointer tells absent from zero.
type tokenRates struct {
	Input        *string `json:"input,omitempty"`
	CacheRead    *string `json:"cache_read,omitempty"`
	CacheWrite5m *string `json:"cache_write_5m,omitempty"`
	CacheWrite1h *string `json:"cache_write_1h,omitempty"`
	Output       *string `json:"output,omitempty"`
	Reasoning    *string `json:"reasoning,omitempty"`
}

// named lists the rates in the order of the file.
func (r tokenRates) named() []namedRate {
	return []namedRate{
		{"input", r.Input}, {"cache_read", r.CacheRead}, {"cache_write_5m", r.CacheWrite5m},
		{"cache_write_1h", r.CacheWrite1h}, {"output", r.Output}, {"reasoning", r.Reasoning},
	}
}

type namedRate struct {
	name  string
	value *string
}

// name is "provider/id".
func (r row) name() string { return r.Provider + "/" + r.ID }

func (r row) unit() string {
	if r.Unit == "" {
		return unitToken
	}
	return r.Unit
}

const dayFormat = "2006-01-02"

// minutes is how long a day is.
const minutes = 24 * 60

// span is a rate in force, ready to be looked up.
type span struct {
	// from and until are zero when open.
	from, until time.Time
	// windows are minutes of the day; none means all day. An end that is not
	// after its start lies on the next day.
	windows [][2]int
	base    wflo.Price
	tiers   []step
}

// step is a tier, ready to be looked up.
type step struct {
	promptTokens int64
	price        wflo.Price
}

// compile turns a linted rate into a span.
func (r rate) compile(of row, habits providerHabits) span {
	id := of.name() + "@start"
	if r.From != "" {
		id = of.name() + "@" + r.From
	}
	var s span
	s.from, _ = parseDay(r.From)
	s.until, _ = parseDay(r.Until)
	for _, w := range r.Windows {
		if win, err := parseWindow(w); err == nil {
			s.windows = append(s.windows, win)
		}
	}
	if len(r.Windows) > 0 {
		id += "T" + r.Windows[0][0]
	}
	if of.fromOverrides {
		id = "override:" + id
	}
	perRequest, _ := wflo.ParseMoney(orZero(r.PerRequest))
	s.base = r.PerMtok.price(id, perRequest, habits)
	for _, t := range r.Tiers {
		s.tiers = append(s.tiers, step{t.PromptTokens, t.PerMtok.price(tierID(id, t.PromptTokens), perRequest, habits)})
	}
	return s
}

// price is the rates for a prompt of that size.
func (s span) price(promptTokens int64) wflo.Price {
	p := s.base
	for _, t := range s.tiers {
		if promptTokens >= t.promptTokens {
			p = t.price
		}
	}
	return p
}

// covers says whether the span is in force at any moment from at until at+d,
// both included, for a d of less than a day.
func (s span) covers(at time.Time, d time.Duration) bool {
	at = at.UTC()
	if !s.from.IsZero() && at.Add(d).Before(s.from) || !s.until.IsZero() && !at.Before(s.until) {
		return false
	}
	if len(s.windows) == 0 {
		return true
	}
	now := at.Hour()*60 + at.Minute()
	for _, w := range s.windows {
		length := wrap(w[1] - w[0])
		if length == 0 {
			length = minutes
		}
		untilStart := wrap(w[0] - now)
		// The window starts within d of at's minute, or at lies in it.
		if d > 0 && untilStart <= int(d.Minutes())+1 || wrap(now-w[0]) < length {
			return true
		}
	}
	return false
}

// wrap brings a number of minutes into one day.
func wrap(m int) int { return ((m % minutes) + minutes) % minutes }

func parseDay(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(dayFormat, s)
}

func parseWindow(w [2]string) ([2]int, error) {
	var out [2]int
	for i, s := range w {
		t, err := time.Parse("15:04", s)
		if err != nil {
			return out, err
		}
		out[i] = t.Hour()*60 + t.Minute()
	}
	return out, nil
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

package pricing

import (
	"math"
	"time"
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
	unitRequest   = "request"
	unitSecond    = "second"
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
	// PerRequest is dollars per call, PerSecond dollars per second.
	PerRequest string `json:"per_request,omitempty"`
	PerSecond  string `json:"per_second,omitempty"`
	// Uncounted are rates for what wflo.Usage does not count, kept as facts:
	// they never enter a cost.
	Uncounted map[string]string `json:"uncounted,omitempty"`
	Tiers     []tier            `json:"tiers,omitempty"`
	// Services are the rates of service tiers other than the standard one, by the
	// words of wflo.Reply.Tier.
	Services map[string]service `json:"service_tiers,omitempty"`
}

// tier is the rates of a whole request from a prompt size on.
type tier struct {
	// PromptTokens is the first size with these rates; Above, which stands instead
	// of it, the last one without them.
	PromptTokens int64       `json:"prompt_tokens_gte,omitempty"`
	Above        int64       `json:"prompt_tokens_gt,omitempty"`
	PerMtok      *tokenRates `json:"per_mtok"`
}

// from is the first size with the rates.
func (t tier) from() int64 {
	if t.Above > 0 && t.Above < math.MaxInt64 {
		return t.Above + 1
	}
	return t.PromptTokens
}

// service is what a service tier costs: a factor of all the standard rates, or
// token rates of its own.
type service struct {
	Factor  string      `json:"factor,omitempty"`
	PerMtok *tokenRates `json:"per_mtok,omitempty"`
	Tiers   []tier      `json:"tiers,omitempty"`
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

// priced says whether the rate can enter a cost.
func (r rate) priced(of row) bool {
	switch of.unit() {
	case unitToken:
		return r.PerMtok != nil
	case unitRequest, unitSecond:
		return true
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

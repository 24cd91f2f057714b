package gateway

import (
	"maps"
	"net/http"
	"regexp"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// The headers of callers.
const (
	// HeaderRun names a run of the key: a conversation, a job. Each has the
	// key's budget for itself. Calls without it are one run, named default.
	HeaderRun = "X-Wflo-Run"
	// HeaderTags adds tags, as k=v,k=v. It cannot change those of the key.
	HeaderTags = "X-Wflo-Tags"
	// HeaderIdempotency makes a request that is sent again the same call, which
	// is paid once.
	HeaderIdempotency = "Idempotency-Key"
)

// The headers of answers. Streams have HeaderCost as trailer.
const (
	// HeaderCost is what the call cost, in dollars.
	HeaderCost = "X-Wflo-Cost"
	// HeaderLeft is what the tightest budget of the call still has, in dollars.
	HeaderLeft = "X-Wflo-Budget-Left"
)

const (
	// defaultRun is the run of calls that name none.
	defaultRun = "default"
	// maxIdempotency bounds HeaderIdempotency, in bytes.
	maxIdempotency = 255
)

var runName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// run says whom a request acts for: its key, narrowed by its headers.
func (c caller) run(h http.Header) (wflo.Run, error) {
	id, err := single(h, HeaderRun)
	if err != nil {
		return wflo.Run{}, err
	}
	if id == "" {
		id = defaultRun
	}
	if !runName.MatchString(id) {
		return wflo.Run{}, wflo.Invalid(HeaderRun, "is not a plain name", "use up to 128 letters, digits, dots, colons, dashes and underscores")
	}
	r := wflo.Run{
		User: c.Run.User, Team: c.Run.Team, Org: c.Run.Org, Agent: c.Run.Agent, Correlation: c.Run.Correlation, Budget: c.Run.Budget,
		WorkflowID: "gateway/" + c.Name, FirstRunID: id, Tags: maps.Clone(c.Run.Tags),
	}
	tags, err := single(h, HeaderTags)
	if err != nil {
		return r, err
	}
	if r.Tags, err = addTags(r.Tags, tags); err != nil {
		return r, err
	}
	b := c.Run.Budget
	r.Lines = []wflo.BudgetLine{{ID: wflo.RunBudgetID(r.ID()), Limit: b.Limit, Thresholds: b.Thresholds, OnExceeded: b.OnExceeded}}
	return r, r.Validate()
}

// addTags reads k=v,k=v and adds what is not there.
func addTags(tags map[string]string, text string) (map[string]string, error) {
	if strings.TrimSpace(text) == "" {
		return tags, nil
	}
	if tags == nil {
		tags = map[string]string{}
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || key == "" {
			return nil, wflo.Invalid(HeaderTags, "is not a list of k=v", "write it as env=prod,feature=search")
		}
		if had, taken := tags[key]; taken && had != value {
			return nil, wflo.Invalid(HeaderTags, "changes a tag that is set", "leave out the tags of the key, and name each once")
		}
		tags[key] = value
	}
	return tags, nil
}

// single is a header that may stand there once.
func single(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) > 1 {
		return "", wflo.Invalid(name, "stands there more than once", "send it once")
	}
	return strings.Join(values, ""), nil
}

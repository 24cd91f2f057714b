package notifytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// PagerDutyEvent is what the Events API v2 takes.
type PagerDutyEvent struct {
	RoutingKey  string `json:"routing_key"`
	EventAction string `json:"event_action"`
	DedupKey    string `json:"dedup_key"`
	Payload     *struct {
		Summary       string            `json:"summary"`
		Source        string            `json:"source"`
		Severity      string            `json:"severity"`
		Timestamp     string            `json:"timestamp"`
		Class         string            `json:"class"`
		CustomDetails map[string]string `json:"custom_details"`
	} `json:"payload"`
	Client    string `json:"client"`
	ClientURL string `json:"client_url"`
	Links     []struct {
		Href, Text string
	} `json:"links"`
}

// PagerDuty is a service with incidents.
type PagerDuty struct {
	*Server
	key       string
	incidents map[string]string
	events    []PagerDutyEvent
}

// NewPagerDuty starts a service with this integration key.
func NewPagerDuty(t testing.TB, key string) *PagerDuty {
	p := &PagerDuty{key: key, incidents: map[string]string{}}
	p.Server = begin(t, p.judge)
	return p
}

// Incidents are the states of the incidents, by dedup key.
func (p *PagerDuty) Incidents() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]string{}
	for k, v := range p.incidents {
		all[k] = v
	}
	return all
}

// Events are those that were taken.
func (p *PagerDuty) Events() []PagerDutyEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

func (p *PagerDuty) judge(w http.ResponseWriter, r Request) {
	var e PagerDutyEvent
	dec := json.NewDecoder(strings.NewReader(r.Body))
	dec.DisallowUnknownFields()
	problem := ""
	if err := dec.Decode(&e); err != nil {
		problem = err.Error()
	} else {
		problem = p.check(r, e)
	}
	w.Header().Set("Content-Type", "application/json")
	if problem != "" {
		p.fail("%s", problem)
		w.WriteHeader(http.StatusBadRequest)
		// The real one repeats what it got, keys included.
		fmt.Fprintf(w, `{"status":"invalid event","message":"Event object is invalid","errors":[%q,%q]}`, problem, r.Body)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
	p.incidents[e.DedupKey] = map[string]string{"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}[e.EventAction]
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"status":"success","message":"Event processed","dedup_key":%q}`, e.DedupKey)
}

func (p *PagerDuty) check(r Request, e PagerDutyEvent) string {
	switch {
	case r.Method != http.MethodPost || r.Path != "/v2/enqueue" || r.Header.Get("Content-Type") != "application/json":
		return "not POST /v2/enqueue of JSON"
	case e.RoutingKey != p.key:
		return "unknown routing_key"
	case !slices.Contains([]string{"trigger", "acknowledge", "resolve"}, e.EventAction):
		return "event_action " + e.EventAction
	case e.DedupKey == "" || utf8.RuneCountInString(e.DedupKey) > 255:
		return "dedup_key of a wrong length"
	case len(r.Body) > 512<<10:
		return "larger than 512 KB"
	case e.EventAction != "trigger":
		return ""
	case e.Payload == nil || e.Payload.Source == "" || e.Payload.Summary == "" || utf8.RuneCountInString(e.Payload.Summary) > 1024:
		return "payload lacks source or summary, or the summary is too long"
	case !slices.Contains([]string{"critical", "error", "warning", "info"}, e.Payload.Severity):
		return "severity " + e.Payload.Severity
	}
	if _, err := time.Parse(time.RFC3339, e.Payload.Timestamp); e.Payload.Timestamp != "" && err != nil {
		return "timestamp " + e.Payload.Timestamp
	}
	return ""
}

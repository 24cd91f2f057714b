package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// APIVersion is that of the HTTP API, as its paths have it.
const APIVersion = "v1"

// versionPatience is how long Temporal may take to say its version: all else is said
// without it.
const versionPatience = 3 * time.Second

// Version says what the program that answers is made of, and what it works with.
type Version struct {
	// Program is the version of the program, Revision the commit that it was built from,
	// and Go what built it; "unknown" where the program does not know.
	Program  string `json:"program"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	API      string `json:"api"`
	// Schema is that of the database; absent where it does not say.
	Schema *SchemaVersion `json:"schema,omitempty"`
	// Temporal is the version of the server; empty where it does not answer.
	Temporal string `json:"temporal,omitempty"`
}

// SchemaVersion compares the schema of a database with that of a program.
type SchemaVersion struct {
	// Have is the version that the database has, Known the newest that the program knows.
	Have  int64 `json:"have"`
	Known int64 `json:"known"`
}

// version answers the API.
func (h *Handler) version(ctx context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	return h.versions(ctx), nil
}

// versions asks all parts for theirs. One that does not answer is left out: whoever looks
// for what does not fit must see the rest.
func (h *Handler) versions(ctx context.Context) Version {
	program, revision, goVersion := telemetry.Built()
	v := Version{Program: cmp.Or(h.cfg.Setup.Version, program), Revision: revision, Go: goVersion, API: APIVersion}
	if l, ok := h.cfg.Ledger.(interface {
		SchemaVersion(ctx context.Context) (have, known int64, err error)
	}); ok {
		have, known, err := l.SchemaVersion(ctx)
		if err == nil {
			v.Schema = &SchemaVersion{Have: have, Known: known}
		} else {
			h.cfg.Logger.WarnContext(ctx, "read versions", "error", err.Error())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, versionPatience)
	defer cancel()
	info, err := h.cfg.Client.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	if err != nil {
		h.cfg.Logger.WarnContext(ctx, "ask Temporal for its version", "error", err.Error())
		return v
	}
	v.Temporal = info.GetServerVersion()
	return v
}

// limits are the bounds of this console that people run into, by name.
func (h *Handler) limits() map[string]string {
	patience := h.cfg.Patience.orDefault()
	all := map[string]string{
		"Connections at a time":           strconv.Itoa(cmp.Or(h.cfg.Conns, defaultConns)),
		"Runs in a page of the API":       strconv.Itoa(mostRuns),
		"Rows of a run in a page":         strconv.Itoa(mostStory),
		"Body of a request":               byteCount(maxBody),
		"Body of a decision":              byteCount(maxDecision),
		"Reason or name, in bytes":        strconv.Itoa(maxText),
		"Time for a request":              deadline.String(),
		"Time for a request to arrive":    patience.Request.String(),
		"Time for a client to take it":    writeTime.String(),
		"Who follow runs at a time":       strconv.Itoa(h.streams.most),
		"Time that a run is followed for": streamTime.String(),
	}
	if h.cfg.Auth != nil {
		all["Requests a second, for an address"] = fmt.Sprint(cmp.Or(h.cfg.Rate, defaultRate))
	}
	for name, text := range h.cfg.Setup.Limits {
		all[name] = text
	}
	return all
}

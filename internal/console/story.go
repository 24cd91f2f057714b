package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// mostStory is how many rows of a story are given at once.
const mostStory = 1000

// outputs is the part of a teller that reads what came out of a row, whole.
type outputs interface {
	Output(ctx context.Context, workflowID, runID, rowID string) (story.Output, error)
}

// tellerOf is who tells the stories of runs; nil where nobody does.
func tellerOf(cfg Config) teller {
	if cfg.tells == nil && cfg.Story != nil {
		return cfg.Story
	}
	return cfg.tells
}

// storyRoutes are the API of the stories of runs.
func (h *Handler) storyRoutes() []Route {
	if h.tells == nil {
		return nil
	}
	return []Route{
		{Pattern: "GET /api/v1/runs/{id}/head", Role: viewer, Tenants: true, serve: h.json(h.storyHead)},
		{Pattern: "GET /api/v1/runs/{id}/rows", Role: viewer, Tenants: true, serve: h.json(h.storyRows)},
		{Pattern: "GET /api/v1/runs/{id}/rows/{row}", Role: viewer, Tenants: true, serve: h.json(h.storyRow)},
		{Pattern: "GET /api/v1/runs/{id}/rows/{row}/output", Role: viewer, Tenants: true, serve: h.storyOutput},
		{Pattern: "GET /api/v1/runs/{id}/events", Role: viewer, Tenants: true, lasts: true, serve: h.storyEvents},
	}
}

// ofStory reads which run a request is about, and refuses that of another org.
func (h *Handler) ofStory(ctx context.Context, r *http.Request, more ...string) (id, run string, err error) {
	q, err := queryOf(r, append([]string{"run"}, more...)...)
	if err != nil {
		return "", "", err
	}
	id, run = r.PathValue("id"), q.Get("run")
	return id, run, untold(h.own(ctx, id, run))
}

// untold says of what is not there that it is not.
func untold(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &absent{"no such run, or no such row of it", "list the runs at /api/v1/runs; the rows of one are at /api/v1/runs/ID/rows"}
	}
	return err
}

func (h *Handler) storyHead(ctx context.Context, r *http.Request) (any, error) {
	id, run, err := h.ofStory(ctx, r)
	if err != nil {
		return nil, err
	}
	head, err := h.tells.Head(ctx, id, run)
	return head, untold(err)
}

func (h *Handler) storyRows(ctx context.Context, r *http.Request) (any, error) {
	id, run, err := h.ofStory(ctx, r, "after", "latest", "kind", "limit")
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	want := story.Query{WorkflowID: id, RunID: run, After: q.Get("after")}
	if want.Latest, err = yes(q.Get("latest")); err != nil {
		return nil, wflo.Invalid("latest", fmt.Sprintf("is %q", q.Get("latest")), "use true or false")
	}
	if want.Limit, err = count(q, "limit", 0, mostStory); err != nil {
		return nil, err
	}
	for _, kinds := range q["kind"] {
		for kind := range strings.SplitSeq(kinds, ",") {
			if kind != "" {
				want.Kinds = append(want.Kinds, story.Kind(kind))
			}
		}
	}
	for _, kind := range want.Kinds {
		if !slices.Contains(storyKinds, kind) {
			return nil, wflo.Invalid("kind", fmt.Sprintf("is %q", string(kind)), fmt.Sprintf("use some of %v", storyKinds))
		}
	}
	page, err := h.tells.Rows(ctx, want)
	if page.Rows == nil {
		page.Rows = []story.Row{}
	}
	return page, untold(err)
}

func (h *Handler) storyRow(ctx context.Context, r *http.Request) (any, error) {
	id, run, err := h.ofStory(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := h.tells.Detail(ctx, id, run, r.PathValue("row"))
	return d, untold(err)
}

// storyOutput gives the whole of what came out of a row, to be kept as a file: it is
// whatever a model or a program wrote, and no browser shows it as a page of ours.
func (h *Handler) storyOutput(w http.ResponseWriter, r *http.Request) {
	out, err := h.outputOf(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	head := w.Header()
	head.Set("Content-Type", out.Type)
	head.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", out.Name))
	head.Set("Content-Length", fmt.Sprint(len(out.Data)))
	if _, err := w.Write(out.Data); err != nil {
		h.cfg.Logger.DebugContext(r.Context(), "write output", "error", err.Error())
	}
}

func (h *Handler) outputOf(r *http.Request) (story.Output, error) {
	ctx := r.Context()
	id, run, err := h.ofStory(ctx, r)
	if err != nil {
		return story.Output{}, err
	}
	from, ok := h.tells.(outputs)
	if !ok {
		return story.Output{}, untold(fs.ErrNotExist)
	}
	out, err := from.Output(ctx, id, run, r.PathValue("row"))
	out.Type = cmp.Or(out.Type, "application/octet-stream")
	return out, untold(err)
}

// fail answers with a Problem.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.json(func(context.Context, *http.Request) (any, error) { return nil, err })(w, r)
}

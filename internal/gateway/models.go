package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// listTime is how long an upstream may take to list its models.
	listTime = 10 * time.Second
	// maxList bounds such a list, in bytes.
	maxList = 8 << 20
)

// model is one entry of the list.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// models lists what can be called: the models of all upstreams that have a
// price, as provider/model. An upstream that does not answer is left out.
func (g *Gateway) models(w http.ResponseWriter, r *http.Request, _ caller) {
	ctx, cancel := context.WithTimeout(r.Context(), listTime)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	all := []model{}
	for _, u := range g.upstreams {
		wg.Go(func() {
			list, err := g.list(ctx, u)
			if err != nil {
				g.log.WarnContext(ctx, "upstream lists no models", "provider", u.Provider, "error", err.Error())
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, list...)
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b model) int { return cmp.Compare(a.ID, b.ID) })
	body, err := json.Marshal(map[string]any{"object": "list", "data": all})
	if err != nil {
		complain(w, problem{status: http.StatusInternalServerError, kind: kindServer, message: "the list cannot be shown"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // a caller that is gone needs no list
}

// list asks one upstream.
func (g *Gateway) list(ctx context.Context, u upstream) ([]model, error) {
	resp, err := u.Base.RoundTrip(u.target(ctx, http.MethodGet, "/models"))
	if err != nil {
		return nil, fmt.Errorf("list models of %s: %w", u.Provider, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("list models of %s: status %d", u.Provider, resp.StatusCode)
	}
	var reply struct {
		Data []struct {
			ID      string `json:"id"`
			Created int64  `json:"created"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxList)).Decode(&reply); err != nil {
		return nil, fmt.Errorf("list models of %s: %w", u.Provider, err)
	}
	var out []model
	for _, m := range reply.Data {
		id := strings.TrimPrefix(m.ID, "models/") // as Gemini lists them
		if _, err := g.cfg.Prices.Find(u.Provider, id, time.Now(), 0); err == nil {
			out = append(out, model{ID: u.Provider + "/" + id, Object: "model", Created: m.Created, OwnedBy: u.Provider})
		}
	}
	return out, nil
}

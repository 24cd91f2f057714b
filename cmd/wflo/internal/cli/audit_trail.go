package cli

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// maxAuditPage is how many records the API gives at once, at most.
const maxAuditPage = 5000

// trailFlags say where the trail is read.
type trailFlags struct{ database, schema string }

func (f *trailFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.database, "database", "", "read this database and not the API: a SQLite file, or postgres://USER@HOST/DATABASE\n(the password in PGPASSWORD or ~/.pgpass)")
	flags.StringVar(&f.schema, "schema", "", "schema of a PostgreSQL database (default "+postgres.DefaultSchema+")")
}

// openedTrail is a trail with what closes it.
type openedTrail struct {
	audit.Trail
	close func()
}

func (a *app) openTrail(ctx context.Context, f trailFlags) (openedTrail, error) {
	isPostgres := strings.HasPrefix(f.database, "postgres://") || strings.HasPrefix(f.database, "postgresql://")
	switch {
	case f.schema != "" && !isPostgres:
		return openedTrail{}, Usage("name the database too, with --database postgres://...", "--schema is for PostgreSQL")
	case isPostgres:
		t, err := postgres.OpenTrail(ctx, postgres.Config{URL: f.database, Schema: f.schema, MaxConns: 1})
		if err != nil {
			return openedTrail{}, err
		}
		return openedTrail{t, func() { _ = t.Close() }}, nil
	case f.database != "":
		t, err := sqlite.OpenTrail(ctx, f.database)
		if err != nil {
			return openedTrail{}, err
		}
		return openedTrail{t, func() { _ = t.Close() }}, nil
	}
	c, err := a.api()
	if err != nil {
		return openedTrail{}, err
	}
	return openedTrail{&trailByAPI{c}, func() {}}, nil
}

// trailByAPI reads the trail through a worker's API.
type trailByAPI struct{ api *api }

var _ audit.Trail = (*trailByAPI)(nil)

// ReadAudit is that of activities.Audit.
func (t *trailByAPI) ReadAudit(ctx context.Context, q wflo.AuditQuery) (all []wflo.AuditRecord, err error) {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("chain", q.Chain)
	set("workflow", q.WorkflowID)
	set("type", string(q.Type))
	for name, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.After != 0 {
		v.Set("after", strconv.FormatInt(q.After, 10))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(min(q.Limit, maxAuditPage)))
	}
	if q.Latest {
		v.Set("latest", "true")
	}
	err = t.api.get(ctx, "/audit", v, &all)
	return all, err
}

// AuditHeads is that of activities.Audit. The API gives no list of chains, so they
// are found by reading through all records by time, which takes a while for a long
// trail; --database needs no such thing.
func (t *trailByAPI) AuditHeads(ctx context.Context) (heads []wflo.AuditRecord, err error) {
	const page = 1000
	var chains []string
	for q := (wflo.AuditQuery{Limit: page}); ; {
		records, err := t.ReadAudit(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if !slices.Contains(chains, r.Chain) {
				chains = append(chains, r.Chain)
			}
		}
		if len(records) < page {
			break
		}
		last := records[len(records)-1].At
		if last.Equal(q.From) {
			return nil, wflo.Errorf("", "read it with --database", "more than %d records have one time, which the API cannot page through", page)
		}
		q.From = last // those at this very time come again
	}
	slices.Sort(chains)
	for _, chain := range chains {
		last, err := t.ReadAudit(ctx, wflo.AuditQuery{Chain: chain, Latest: true, Limit: 1})
		if err != nil {
			return nil, err
		}
		heads = append(heads, last...)
	}
	return heads, nil
}

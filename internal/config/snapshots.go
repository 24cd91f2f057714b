package config

import (
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// Snapshots says where snapshots of runs are kept, and what they may hold.
type Snapshots struct {
	// Store is a directory or s3://BUCKET/PREFIX; empty means the default.
	Store string
	// Keys seal what is stored; unset means that it is not sealed. AllowPlain reads what
	// was stored before there were keys.
	Keys       Secret
	AllowPlain bool
	// Limits and Exclude are for workspaces.
	Limits  sandbox.TreeLimits
	Exclude []string
	// Tables are sets of tables by the names under which snapshots ask for them.
	Tables map[string]TableSet
	// KeepLast and MaxAge say which snapshots stay, CollectEvery how often the others go.
	KeepLast             int
	MaxAge, CollectEvery time.Duration
}

func (r *reader) snapshots(n ast.Node, s *Snapshots) error {
	var entries, depth int
	set, err := r.mapping(n, "snapshots",
		r.textField("store", &s.Store), r.secretField("keys", &s.Keys), r.boolField("allow_plain", &s.AllowPlain), r.textsField("exclude", &s.Exclude),
		r.intField("keep_last", &s.KeepLast), r.durationField("max_age", &s.MaxAge), r.durationField("collect_every", &s.CollectEvery),
		field{"tables", func(n ast.Node) error { return r.tableSets(n, &s.Tables) }},
		field{"limits", func(n ast.Node) error {
			_, err := r.mapping(n, "limits of snapshots", r.intField("entries", &entries), r.intField("depth", &depth),
				field{"bytes", func(n ast.Node) (err error) { s.Limits.Bytes, err = r.integer(n, "bytes"); return err }})
			return err
		}},
	)
	if err != nil {
		return err
	}
	s.Limits.Entries, s.Limits.Depth = entries, depth
	if s.KeepLast < 0 {
		return r.fail(set["keep_last"], "use 0 for all, or a positive number", "keep_last is negative")
	}
	if err := s.Limits.Validate(); err != nil {
		return r.check(set["limits"], nil, "limits", err)
	}
	if err := r.place(set["store"], s.Store); err != nil {
		return err
	}
	for _, pattern := range s.Exclude {
		if _, err := path.Match(pattern, ""); err != nil {
			return r.fail(set["exclude"], "use the patterns of path.Match, such as *.tmp", "exclude has the pattern %q, which is none", short(pattern))
		}
	}
	return nil
}

// place refuses an address of a bucket that is none.
func (r *reader) place(n ast.Node, store string) error {
	if u, err := url.Parse(store); strings.HasPrefix(store, "s3:") && (err != nil || u.Host == "" || u.User != nil) {
		return r.fail(n, "write s3://BUCKET/PREFIX; credentials belong into the environment", "store is not the address of a bucket")
	}
	return nil
}

package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSnapshots(t *testing.T) {
	f, err := Parse("f", []byte("snapshots:\n  store: s3://wflo/prod?region=eu-central-1\n  keys: {env: WFLO_BLOB_KEYS}\n  allow_plain: true\n  limits: {entries: 1000, bytes: 1000000, depth: 20}\n  exclude: ['*.tmp', node_modules]\n  keep_last: 5\n  max_age: 720h\n  collect_every: 10m\n"))
	s := f.Snapshots
	if err != nil || s.Store != "s3://wflo/prod?region=eu-central-1" || s.Keys.Env != "WFLO_BLOB_KEYS" || !s.AllowPlain || s.Limits.Entries != 1000 || s.Limits.Bytes != 1000000 || s.Limits.Depth != 20 || len(s.Exclude) != 2 ||
		s.KeepLast != 5 || s.MaxAge != 720*time.Hour || s.CollectEvery != 10*time.Minute {
		t.Fatalf("got %+v (%v)", s, err)
	}
	for text, want := range map[string]string{
		"keys: plain-text":              "this file never holds a secret",
		"store: s3://key:secret@bucket": "credentials belong into the environment",
		"limits: {entries: -1}":         "f:2",
		"exclude: ['[']":                "which is none",
		"keep_last: -1":                 "f:2",
		"max_age: soon":                 "f:2",
		"keep: 3":                       "unknown field",
	} {
		_, err := Parse("f", []byte("snapshots:\n  "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "key:secret") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestTableSets(t *testing.T) {
	f, err := Parse("f", []byte(`snapshots:
  tables:
    orders:
      url: {env: SHOP_DATABASE_URL}
      tables:
        - public.orders
        - {name: '"Sales"."Lines"', where: "tenant = 7"}
      skip_triggers: true
    stock: {url: {file: /run/secrets/stock}, tables: [stock]}
`))
	want := map[string]TableSet{
		"orders": {URL: Secret{Env: "SHOP_DATABASE_URL"}, Tables: []Table{{Name: "public.orders"}, {Name: `"Sales"."Lines"`, Where: "tenant = 7"}}, SkipTriggers: true},
		"stock":  {URL: Secret{File: "/run/secrets/stock"}, Tables: []Table{{Name: "stock"}}},
	}
	if diff := cmp.Diff(want, f.Snapshots.Tables); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	for text, want := range map[string]string{
		"{a: {url: 'postgres://ann:hunter2@db/shop', tables: [t]}}": "this file never holds a secret",
		"{a: {tables: [t]}}":                                    "has no url",
		"{a: {url: {env: A}}}":                                  "has no table",
		"{a: {url: {env: A}, tables: []}}":                      "has no table",
		"{a: {url: {env: A}, tables: [t, {name: t}]}}":          "is there twice",
		"{a: {url: {env: A}, tables: [{where: x}]}}":            "has no name",
		"{a: {url: {env: A}, tables: [t], trigger: no}}":        "unknown field",
		"{a: {url: {env: A}, tables: [{name: t, where: [x]}]}}": "f:2",
		"[a]": "f:2",
		"{a: {url: {env: A}, tables: [t]}, a: {url: {env: B}, tables: [t]}}": "f:2",
	} {
		_, err := Parse("f", []byte("snapshots:\n  tables: "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

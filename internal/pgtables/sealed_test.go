package pgtables

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/objectstore/sealed"
)

// The key of a sealed blob is the hash of what is stored, not of what is in it.
func TestTablesComeBackFromASealedStore(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT i, md5(i::text) FROM generate_series(1, 1000) i", "a")
	below, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = below.Close() })
	keys, err := sealed.ParseKeys("k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := sealed.Open(sealed.Config{Blobs: below, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if w.keeper, err = New(Config{Sets: map[string]Set{"shop": {URL: w.url, Tables: []Table{{Name: "a"}}}}, Blobs: blobs}); err != nil {
		t.Fatal(err)
	}
	then := w.all("a")
	p := w.save(nil)
	w.exec("DELETE FROM a WHERE id > 10")
	if err := w.keeper.Check(t.Context(), w.in, p); err != nil {
		t.Errorf("check: %v", err)
	}
	if refs, err := w.keeper.Refs(t.Context(), p); err != nil || len(refs) < 2 {
		t.Errorf("refs %v: %v", refs, err)
	}
	if d, err := w.keeper.Diff(t.Context(), w.in, p, nil); err != nil || len(d.Changes) == 0 {
		t.Errorf("diff %+v: %v", d, err)
	}
	w.restore(p)
	w.same("after the restore", then, w.all("a"))
	if again := w.save(&p); again.Stored != 0 || again.Blobs[0] != p.Blobs[0] {
		t.Errorf("stored %d bytes again under %.12s, before %.12s", again.Stored, again.Blobs[0], p.Blobs[0])
	}
}

// Another key in a manifest would let the collector take the chunk for garbage.
func TestManifestsWithAnotherChunkAreRefused(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)", "a")
	p := w.save(nil)
	refs, err := w.keeper.Refs(t.Context(), p)
	if err != nil || len(refs) != 2 {
		t.Fatalf("refs %v: %v", refs, err)
	}
	data := string(w.blobs.blobs[p.Blobs[0]])
	w.blobs.blobs[p.Blobs[0]] = []byte(strings.Replace(data, `"key":"`+refs[1], `"key":"`+strings.Repeat("0", 64), 1))
	if refs, err := w.keeper.Refs(t.Context(), p); wflo.CodeOf(err) != wflo.CodeConflict || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("refs %v: %v", refs, err)
	}
}

package invariant

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// snapshots recomputes seals and hashes.
func (c *check) snapshots(ctx context.Context) error {
	if c.DB == nil {
		return nil
	}
	type snapshot struct {
		ID, Digest string
		Manifest   []byte
	}
	all, err := rows[snapshot](ctx, c, `SELECT id, digest, manifest FROM {s}.snapshots ORDER BY id`)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range all {
		c.saw(1)
		if seal(s.Manifest) != s.Digest {
			c.find("snapshot %s is not what was sealed", s.ID)
		}
		var m struct {
			Parts []struct {
				Kind  string
				Blobs []string
			}
		}
		if err := json.Unmarshal(s.Manifest, &m); err != nil {
			return fmt.Errorf("manifest of %s: %w", s.ID, err)
		}
		if c.Blob == nil {
			continue
		}
		for _, part := range m.Parts {
			for _, key := range part.Blobs {
				if !seen[key] {
					c.blob(ctx, s.ID, part.Kind, key)
				}
				seen[key] = true
			}
		}
	}
	return nil
}

// blob reads one and hashes it.
func (c *check) blob(ctx context.Context, snapshot, kind, key string) {
	c.saw(1)
	data, err := c.Blob(ctx, key)
	if err != nil {
		c.find("snapshot %s: the blob %.12s of its %s cannot be read: %v", snapshot, key, kind, err)
		return
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != key {
		c.find("snapshot %s: the blob %.12s of its %s holds something else", snapshot, key, kind)
	}
}

// seal is the seal of a manifest: a hash of what it is and of its canonical form, each
// after its length.
func seal(manifest []byte) string {
	const kind = "wflo.snapshot.v1"
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s;%d:%s;", len(kind), kind, len(manifest), manifest)
	return hex.EncodeToString(h.Sum(nil))
}

// in puts the schema's name into a query.
func in(schema, query string) string {
	return strings.ReplaceAll(query, "{s}", pgx.Identifier{schema}.Sanitize())
}

// forms are the ways in which a secret may stand in a dump.
func forms(secret string) []string {
	all := []string{secret, hex.EncodeToString([]byte(secret))}
	for shift := range 3 { // where base64 begins within what was encoded
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		// The first and the last characters also hold bits of what is next to the secret.
		from, to := (shift*8+5)/6, len(strings.TrimRight(text, "="))-1
		if to > from+8 {
			all = append(all, text[from:to])
		}
	}
	return all
}

package pgtables

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// format is the version of what is stored. Before chunkFormat, SHA256 of tables was over
// their rows (in the first one) or the hashes of these, and there was a Sum: a save hashed
// each row, for what a restore can find out by itself.
const (
	firstFormat = 1
	chunkFormat = 3
	format      = 3
)

// maxManifest bounds a manifest, in bytes: some 500,000 chunks.
const maxManifest = 64 << 20

// manifest is a set of tables at a moment, with where its rows are. The tables are in
// the order of their names.
type manifest struct {
	Format int `json:"format"`
	// Server is the number of the server's version, such as 150018.
	Server int `json:"server"`
	// Types are the users' types that columns have, in the order of their names.
	Types  []typeDef `json:"types,omitempty"`
	Tables []table   `json:"tables"`
	// Sequences are those that columns get their values from.
	Sequences []sequence `json:"sequences,omitempty"`
}

// typeDef is an enum, a domain or a composite type.
type typeDef struct {
	Name string `json:"name"` // as SQL writes it
	Def  string `json:"def"`
}

// table is one table.
type table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Where  string `json:"where,omitempty"`
	// Parts says that the table is partitioned: its rows are in others.
	Parts       bool         `json:"parts,omitempty"`
	Columns     []column     `json:"columns"`
	Key         []string     `json:"key,omitempty"` // the columns of the primary key
	Constraints []constraint `json:"constraints,omitempty"`

	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // see hashChunks
	// Sum is a rowSum without a key, in formats before chunkFormat.
	Sum    string  `json:"sum,omitempty"`
	Chunks []chunk `json:"chunks,omitempty"`

	oid int64
}

// column is one column.
type column struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	NotNull   bool   `json:"not_null,omitempty"`
	Identity  string `json:"identity,omitempty"` // a: always, d: by default
	Generated string `json:"generated,omitempty"`
	Collation string `json:"collation,omitempty"` // where it is not the type's own
	// Text says that the column has an order that a collation decides.
	Text bool `json:"text,omitempty"`
}

// constraint is a constraint, or a unique index.
type constraint struct {
	Name string `json:"name"`
	Def  string `json:"def"`
}

// sequence is where a sequence stands.
type sequence struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Last   int64  `json:"last"`
	Called bool   `json:"called,omitempty"`

	increment int64
	shared    bool // rows that are not kept may have its numbers
}

// chunk is a blob with rows. The key is the store's, and says nothing about the content
// where that is sealed.
type chunk struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`   // of the blob
	SHA256 string `json:"sha256"` // of the blob, as it is before a store seals it
	Raw    int64  `json:"raw"`    // of the rows
	Rows   int64  `json:"rows"`
}

// ident is the table's name as SQL writes it, always in quotes.
func (t *table) ident() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

func (s *sequence) ident() string { return pgx.Identifier{s.Schema, s.Name}.Sanitize() }

// show is a name for people: quotes only where SQL needs them.
func show(schema, name string) string { return showPart(schema) + "." + showPart(name) }

func showPart(s string) string {
	if parts, err := splitName(s); err == nil && len(parts) == 1 && parts[0] == s {
		return s
	}
	return pgx.Identifier{s}.Sanitize()
}

func (t *table) show() string { return show(t.Schema, t.Name) }

// rows and bytes sum up the tables.
func (m *manifest) rows() (n int64) {
	for i := range m.Tables {
		n += m.Tables[i].Rows
	}
	return n
}

func (m *manifest) bytes() (n int64) {
	for i := range m.Tables {
		n += m.Tables[i].Bytes
	}
	return n
}

// chunks calls each with every chunk and its table.
func (m *manifest) chunks(each func(t *table, c chunk) error) error {
	for i := range m.Tables {
		for _, c := range m.Tables[i].Chunks {
			if err := each(&m.Tables[i], c); err != nil {
				return err
			}
		}
	}
	return nil
}

// digest is the hash of what is kept, in hex, without regard to where it is stored. The
// SHA256 of tables stands for their rows.
func (m *manifest) digest() (string, error) {
	plain := *m
	plain.Server = 0
	plain.Tables = slices.Clone(m.Tables)
	for i := range plain.Tables {
		plain.Tables[i].Chunks = nil
	}
	b, err := json.Marshal(plain)
	if err != nil {
		return "", fmt.Errorf("hash the manifest of tables: %w", err)
	}
	sum := sha256.Sum256(append([]byte("wflo.tables.v1\n"), b...))
	return hex.EncodeToString(sum[:]), nil
}

func (m *manifest) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write the manifest of tables: %w", err)
	}
	if len(b) > maxManifest {
		return nil, errTooMuch("the manifest of the tables has %d bytes; at most %d are possible", len(b), maxManifest)
	}
	return b, nil
}

// withHash puts the hash of a manifest in front of it, because the digest of a part does
// not cover where rows are stored: what reads chunks by a damaged manifest would take the
// right ones for garbage.
func withHash(b []byte) []byte { return append([]byte(hashOf(b)+"\n"), b...) }

// checkHash takes it off again.
func checkHash(b []byte) ([]byte, error) {
	sum, rest, ok := bytes.Cut(b, newline)
	if !ok || string(sum) != hashOf(rest) {
		return nil, errors.New("is damaged: it has another hash")
	}
	return rest, nil
}

var newline = []byte{'\n'}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// parseManifest refuses what encode does not write.
func parseManifest(b []byte) (*manifest, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("has %d bytes", len(b))
	}
	m := &manifest{}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if m.Format < firstFormat || m.Format > format {
		return nil, fmt.Errorf("has the format %d; this wflo knows %d to %d", m.Format, firstFormat, format)
	}
	if again, err := json.Marshal(m); err != nil || !bytes.Equal(again, b) {
		return nil, errors.New("is not what wflo writes")
	}
	if len(m.Tables) == 0 {
		return nil, errors.New("has no table")
	}
	for i := range m.Tables {
		if err := m.Tables[i].validate(m.Format); err != nil {
			return nil, fmt.Errorf("table %s: %w", m.Tables[i].show(), err)
		}
		if i > 0 && !m.Tables[i-1].before(&m.Tables[i]) {
			return nil, errors.New("has tables that are not in the order of their names")
		}
	}
	for _, s := range m.Sequences {
		if s.Schema == "" || s.Name == "" {
			return nil, errors.New("has a sequence without a name")
		}
	}
	return m, nil
}

// before is the order of tables, in which they are locked.
func (t *table) before(u *table) bool {
	return t.Schema < u.Schema || t.Schema == u.Schema && t.Name < u.Name
}

func (t *table) validate(format int) error {
	if t.Schema == "" || t.Name == "" {
		return errors.New("has no name")
	}
	if err := t.validateHash(format); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, c := range t.Columns {
		if c.Name == "" || names[c.Name] {
			return errors.New("has a column without a name of its own")
		}
		names[c.Name] = true
	}
	for _, k := range t.Key {
		if !names[k] {
			return errors.New("has a key that is no column")
		}
	}
	if len(t.copied()) == 0 {
		return errors.New("has no column")
	}
	var rows, raw int64
	for _, c := range t.Chunks {
		if !isHash(c.Key) || !isHash(c.SHA256) || c.Size <= 0 || c.Raw <= 0 || c.Raw > maxRaw || c.Rows <= 0 || c.Rows > c.Raw {
			return errors.New("has a chunk that is none")
		}
		rows, raw = rows+c.Rows, raw+c.Raw
	}
	if rows != t.Rows || raw != t.Bytes {
		return fmt.Errorf("has chunks with %d rows and %d bytes, not %d and %d", rows, raw, t.Rows, t.Bytes)
	}
	return nil
}

// hashChunks is the hash of the rows, in hex, by way of the hashes of their chunks: equal
// rows in the same order are cut and compressed alike. What it covers comes back.
func (t *table) hashChunks() string {
	h := sha256.New()
	h.Write([]byte("wflo.chunks.v1\n"))
	for _, c := range t.Chunks {
		fmt.Fprintf(h, "%s %d %d %d\n", c.SHA256, c.Size, c.Raw, c.Rows)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (t *table) validateHash(format int) error {
	if format < chunkFormat {
		if !isHash(t.SHA256) || !isHash(t.Sum) {
			return errors.New("has no hash")
		}
		return nil
	}
	if t.Sum != "" || t.SHA256 != t.hashChunks() {
		return errors.New("has chunks with another hash")
	}
	return nil
}

// copied are the columns that rows have: generated ones come by themselves.
func (t *table) copied() (all []column) {
	for _, c := range t.Columns {
		if c.Generated == "" {
			all = append(all, c)
		}
	}
	return all
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

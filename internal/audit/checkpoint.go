package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Checkpoints keeps checkpoints in another place than the trail: one that whoever
// can change the trail cannot change. Its methods may be called at the same time.
type Checkpoints interface {
	// Put keeps a checkpoint for ever. It returns when a power cut cannot take it
	// away any more.
	Put(ctx context.Context, c wflo.Checkpoint) error
	// List gives all checkpoints, of each chain in the order in which they were put.
	List(ctx context.Context) ([]wflo.Checkpoint, error)
}

// Directory keeps checkpoints in one file per chain, to which lines of JSON are
// added. Put it where the workers cannot write.
type Directory struct {
	// Path is the directory. It is made, for its owner only, when it does not exist.
	Path string

	mu sync.Mutex
}

var _ Checkpoints = (*Directory)(nil)

const suffix = ".jsonl"

// file is that of a chain, whose name may hold anything.
func (d *Directory) file(chain string) string {
	return filepath.Join(d.Path, "chain-"+url.QueryEscape(chain)+suffix)
}

// Put implements Checkpoints.
func (d *Directory) Put(_ context.Context, c wflo.Checkpoint) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode checkpoint of %s: %w", c.Chain, err)
	}
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	path := d.file(c.Chain)
	_, before := os.Stat(path)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// A line that a crash cut off is ended, so that it spoils no other.
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err != nil || last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	if errors.Is(before, fs.ErrNotExist) {
		return syncDir(d.Path)
	}
	return nil
}

// syncDir makes the name of a new file last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// List implements Checkpoints. A line that a crash cut off is left out; any other
// that cannot be read is an error. A directory that does not exist is empty.
func (d *Directory) List(context.Context) (all []wflo.Checkpoint, err error) {
	entries, err := os.ReadDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.Path, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("list checkpoints: %w", err)
		}
		some, err := readCheckpoints(data)
		if err != nil {
			return nil, wflo.Errorf(wflo.CodeInvalid, "restore the file from a backup", "checkpoints in %s: %w", e.Name(), err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func readCheckpoints(data []byte) (all []wflo.Checkpoint, err error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var c wflo.Checkpoint
		switch err := json.NewDecoder(bytes.NewReader(lines.Bytes())).Decode(&c); {
		case errors.Is(err, io.ErrUnexpectedEOF):
			continue // cut off
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, c)
	}
	return all, lines.Err()
}

// Heads is the part of the trail that a Checkpointer reads.
type Heads interface {
	AuditHeads(ctx context.Context) ([]wflo.AuditRecord, error)
}

// Checkpointer signs how far chains have come. It runs where the trail can be read
// and where its key is, which is not in a worker.
type Checkpointer struct {
	Audit Heads
	Store Checkpoints
	// Sign signs, as [wflo.Checkpoint.Sign] does. Required.
	Sign func(wflo.Checkpoint) wflo.Checkpoint
	// Records and Every say when a chain gets its next checkpoint: after so many
	// records, or after so long with any. Zero means 64, and a minute.
	Records int64
	Every   time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	mu   sync.Mutex
	last map[string]wflo.Checkpoint
}

// Round signs what is due, and says how many checkpoints it made. Whoever owns it
// calls it every few seconds. A chain that is shorter than its last checkpoint is an
// error, after all others had their turn: signing it would vouch for the loss.
func (c *Checkpointer) Round(ctx context.Context) (made int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		if err := c.remember(ctx); err != nil {
			return 0, err
		}
	}
	heads, err := c.Audit.AuditHeads(ctx)
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	var wrong []error
	there := map[string]bool{}
	for _, head := range heads {
		there[head.Chain] = true
		done, err := c.sign(ctx, head)
		if done {
			made++
		}
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	for _, last := range c.last {
		if !there[last.Chain] {
			wrong = append(wrong, shorter(last, 0))
		}
	}
	return made, errors.Join(wrong...)
}

// remember takes over what was signed before this process began.
func (c *Checkpointer) remember(ctx context.Context) error {
	before, err := c.Store.List(ctx)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.last = map[string]wflo.Checkpoint{}
	for _, one := range before {
		if one.Seq >= c.last[one.Chain].Seq {
			c.last[one.Chain] = one
		}
	}
	return nil
}

func (c *Checkpointer) sign(ctx context.Context, head wflo.AuditRecord) (bool, error) {
	now, records, every := time.Now(), c.Records, c.Every
	if c.Now != nil {
		now = c.Now()
	}
	if records == 0 {
		records = 64
	}
	if every == 0 {
		every = time.Minute
	}
	last := c.last[head.Chain]
	switch {
	case head.Seq < last.Seq || head.Seq == last.Seq && head.Hash != last.Hash:
		return false, shorter(last, head.Seq)
	case head.Seq == last.Seq, head.Seq-last.Seq < records && now.Sub(last.At) < every:
		return false, nil
	}
	next := c.Sign(wflo.Checkpoint{Chain: head.Chain, Seq: head.Seq, Hash: head.Hash, At: now.UTC().Truncate(time.Microsecond)})
	if err := c.Store.Put(ctx, next); err != nil {
		return false, fmt.Errorf("checkpoint of chain %s: %w", head.Chain, err)
	}
	c.last[head.Chain] = next
	return true, nil
}

func shorter(last wflo.Checkpoint, seq int64) error {
	return wflo.Errorf(wflo.CodeConflict, "run wflo audit verify: records were cut off or replaced",
		"chain %s ends at record %d, and its checkpoint is for record %d with another hash or after it", last.Chain, seq, last.Seq)
}

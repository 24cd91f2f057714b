package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/objectstore/s3"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/pricing"
)

// leastSpace is how many bytes the disk of the data directory should have left.
const leastSpace = 1 << 30

// oldPrices is when a price book is so old that vendors have changed their prices since.
const oldPrices = 180 * 24 * time.Hour

func (p *patient) config(context.Context) []Finding {
	if _, err := p.settings(); err != nil {
		return failed(err, "wflo help environment")
	}
	if name := os.Getenv("WFLO_CONFIG"); name != "" {
		return fine("%s", name)
	}
	return fine("no file; the environment alone")
}

// trail opens the worker's database for reading. An empty name means that there is none
// yet, which is fine before the first worker has run.
func (p *patient) trail(ctx context.Context) (t audit.Trail, name string, closing func(), err error) {
	c, err := p.worked()
	if err != nil {
		return nil, "", nil, err
	}
	if c.Database == "memory" {
		return nil, "", nil, nil
	}
	if c.Database != "" {
		t, err := postgres.OpenTrail(ctx, postgres.Config{URL: c.Database, MaxConns: 1})
		if err != nil {
			return nil, "", nil, err
		}
		return t, "PostgreSQL", func() { _ = t.Close() }, nil
	}
	name = filepath.Join(c.DataDir, "wflo.db")
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil, nil
	}
	lite, err := sqlite.OpenTrail(ctx, name)
	if err != nil {
		return nil, "", nil, err
	}
	return lite, name, func() { _ = lite.Close() }, nil
}

func (p *patient) database(ctx context.Context) []Finding {
	_, name, closing, err := p.trail(ctx)
	switch {
	case errors.Is(err, errNoSettings):
		return unasked("config")
	case err != nil:
		return failed(err, "start a worker of this version of wflo, which brings the schema up to date")
	case name == "":
		return absent("no worker has kept anything here yet")
	}
	closing()
	return fine("%s", name)
}

// audit looks at the last two records of each chain: that each has its hash and follows
// the one before. wflo audit verify looks at all of them.
func (p *patient) audit(ctx context.Context) []Finding {
	t, name, closing, err := p.trail(ctx)
	switch {
	case errors.Is(err, errNoSettings):
		return unasked("config")
	case err != nil:
		return unasked("database")
	case name == "":
		return absent("there is no trail yet")
	}
	defer closing()
	heads, err := t.AuditHeads(ctx)
	if err != nil {
		return failed(fmt.Errorf("read the trail: %w", err), "wflo doctor --check database")
	}
	for _, head := range heads {
		last, err := t.ReadAudit(ctx, wflo.AuditQuery{Chain: head.Chain, After: max(head.Seq-2, 0), Limit: 2})
		if err != nil {
			return failed(fmt.Errorf("read the trail: %w", err), "wflo doctor --check database")
		}
		if why := broken(last, head); why != "" {
			return fault("wflo audit verify", "the audit chain %s does not hold at its end: %s", head.Chain, why)
		}
	}
	return fine("the ends of %d chains hold", len(heads))
}

// broken says why the last records of a chain are not those that were written.
func broken(last []wflo.AuditRecord, head wflo.AuditRecord) string {
	if len(last) == 0 || last[len(last)-1].Hash != head.Hash {
		return fmt.Sprintf("record %d, its head, is not there", head.Seq)
	}
	for i, r := range last {
		hash, err := audit.Hash(r)
		if err != nil || hash != r.Hash {
			return fmt.Sprintf("record %d has not the hash of what it says", r.Seq)
		}
		if i > 0 && (r.Prev != last[i-1].Hash || r.Seq != last[i-1].Seq+1) {
			return fmt.Sprintf("record %d does not follow the one before", r.Seq)
		}
	}
	return ""
}

// snapshots writes to the store: a file that it removes, or, in a bucket, one small blob
// that nothing refers to, which workers collect.
func (p *patient) snapshots(ctx context.Context) []Finding {
	c, err := p.worked()
	if err != nil {
		return unasked("config")
	}
	place := cmp.Or(c.Snapshots.Store, filepath.Join(c.DataDir, "snapshots"))
	if strings.HasPrefix(place, "s3://") {
		store, err := s3.Open(ctx, s3.Config{URL: place})
		if err != nil {
			return failed(fmt.Errorf("the store of snapshots: %w", err), "check the address and the credentials of the store")
		}
		_, err = store.Put(ctx, []byte("wflo doctor"))
		_ = store.Close() // what counts is what Put says
		if err != nil {
			return failed(fmt.Errorf("the store of snapshots: %w", err), "give the credentials the right to write")
		}
		return fine("the bucket can be written")
	}
	if _, err := os.Stat(place); errors.Is(err, fs.ErrNotExist) {
		return absent("no worker has kept snapshots in %s yet", place)
	}
	f, err := os.CreateTemp(place, ".doctor-*")
	if err != nil {
		return fault("chown -R $(id -u) "+quoted(place), "the store of snapshots cannot be written: %v", err)
	}
	_ = f.Close() // nothing was written
	if err := os.Remove(f.Name()); err != nil {
		return fault("chown -R $(id -u) "+quoted(place), "the store of snapshots cannot be written: %v", err)
	}
	return fine("%s", place)
}

func (p *patient) disk(context.Context) []Finding {
	dir := p.DataDir
	if c, err := p.worked(); err == nil {
		dir = c.DataDir
	}
	for {
		free, err := freeSpace(dir)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir) // it will be made in there
			continue
		}
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return absent("this system does not say how much space there is")
		case err != nil:
			return fault("mkdir -p "+quoted(dir), "the disk of the data directory: %v", err)
		case free < leastSpace:
			return fault("du -xh --max-depth=2 "+quoted(dir)+" | sort -h | tail", "the disk of %s has %d MiB left", dir, free>>20)
		}
		return fine("%d MiB left in %s", free>>20, dir)
	}
}

func (p *patient) keys(context.Context) []Finding {
	var found []Finding
	seen := 0
	for _, name := range p.Keys {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if seen++; err != nil {
			found = append(found, fault("chmod 600 "+quoted(name), "a key cannot be looked at: %v", err)...)
			continue
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			want := "600 "
			if info.IsDir() {
				want = "700 "
			}
			found = append(found, fault("chmod "+want+quoted(name), "others may read %s: its mode is %04o", name, mode)...)
		}
	}
	switch {
	case len(found) > 0:
		return found
	case seen == 0:
		return absent("there are no keys here")
	}
	return fine("%d files", seen)
}

func (p *patient) policies(context.Context) []Finding {
	c, err := p.worked()
	if err != nil {
		return unasked("config")
	}
	var names []string
	for _, name := range []string{c.PolicyFile, c.EmergencyFile} {
		if name == "" {
			continue
		}
		source, err := os.ReadFile(name)
		if err == nil {
			_, err = policy.Load(name, source)
		}
		if err != nil {
			return fault("wflo policy check "+quoted(name), "%s", firstLine(err.Error()))
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return absent("no file of policies is configured")
	}
	return fine("%s", strings.Join(names, ", "))
}

func (p *patient) prices(context.Context) []Finding {
	book := pricing.Default()
	date, err := time.Parse(time.DateOnly, book.Date())
	if err != nil {
		return fault("wflo prices lint", "the price book has the date %q", book.Date())
	}
	if age := p.Now().Sub(date); age > oldPrices {
		return fault("wflo prices diff --help", "the built-in price book is of %s, which is %d days old; update wflo or set WFLO_PRICES", book.Date(), int(age.Hours()/24))
	}
	return fine("of %s", book.Date())
}

// engine has a finding per defence of sandboxes and host. One that is not required and
// not there is absent.
func (p *patient) engine(context.Context) []Finding {
	list, err := p.defences()
	var found []Finding
	for _, d := range list {
		f := Finding{State: OK, Detail: d.Name + ": " + d.Detail}
		if d.Host != "" {
			f.Detail = "host " + d.Host + ": " + f.Detail
		}
		switch {
		case d.OK:
		case d.Required:
			f.State, f.Fix = Fault, d.Hint
		default:
			f.State, f.Fix = Absent, d.Hint
		}
		found = append(found, f)
	}
	if err != nil && len(found) == 0 {
		return failed(err, "wflo sandbox check")
	}
	return found
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// quoted is a file's name as one word of a POSIX shell.
func quoted(name string) string {
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

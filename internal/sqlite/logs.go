package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// logs are an activities.Logs in the ledger's file, over the same writer.
type logs struct{ records }

var _ activities.Logs = logs{}

// Logs gives the log lines of runs in the same file. They live as long as the ledger.
func (l *Ledger) Logs() activities.Logs { return logs{records{l}} }

// Bounds of one transaction. Calls about money may wait for it.
const (
	logRows      = 64
	logPurgeRows = 500
)

// AppendLogs implements activities.Logs.
func (l logs) AppendLogs(ctx context.Context, most int, lines ...wflo.LogLine) error {
	runs, byRun, err := activities.GroupLogs(lines)
	if err != nil || len(runs) == 0 {
		return err
	}
	return doing("append log lines", l.do(ctx, func(t *tx) error {
		for _, run := range runs {
			if err := t.appendLogs(run, most, byRun[run]); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (t *tx) appendLogs(run string, most int, lines []wflo.LogLine) error {
	counts, err := all(t, func(row interface{ Scan(...any) error }) (c activities.LogCount, err error) {
		return c, row.Scan(&c.Last, &c.Kept, &c.Full)
	}, "SELECT last, kept, full FROM log_runs WHERE run = ?", run)
	if err != nil {
		return err
	}
	count := append(counts, activities.LogCount{})[0]
	kept := count.Admit(most, lines)
	if len(kept) == 0 {
		return nil
	}
	for part := range slices.Chunk(kept, logRows) {
		args := make([]any, 0, 6*len(part))
		for _, line := range part {
			text, err := written("log line", line)
			if err != nil {
				return err
			}
			args = append(args, run, line.Seq, micros(line.At), int(line.Level), line.Step, text)
		}
		if err := t.exec("INSERT INTO logs (run, seq, at, level, step, line) VALUES (?, ?, ?, ?, ?, ?)"+strings.Repeat(", (?, ?, ?, ?, ?, ?)", len(part)-1), args...); err != nil {
			return err
		}
	}
	return t.exec(`INSERT INTO log_runs (run, last, kept, full) VALUES (?, ?, ?, ?)
		ON CONFLICT (run) DO UPDATE SET last = excluded.last, kept = excluded.kept, full = excluded.full`, run, count.Last, count.Kept, count.Full)
}

// ReadLogs implements activities.Logs.
func (l logs) ReadLogs(ctx context.Context, q activities.LogQuery) ([]wflo.LogLine, error) {
	f := &filters{}
	f.add("run = ?", q.RunKey())
	f.add("seq > ?", q.After)
	f.add("level >= ?", int(q.Level))
	if q.Step != "" {
		f.add("(step = ? OR instr('/' || step, '/' || ? || '#') > 0)", q.Step, q.Step)
	}
	if !q.Since.IsZero() {
		f.add("at >= ?", micros(q.Since))
	}
	order := "ASC"
	if q.Latest {
		order = "DESC"
	}
	rows, err := l.read.QueryContext(ctx, fmt.Sprintf("SELECT line FROM logs WHERE %s ORDER BY seq %s LIMIT ?", strings.Join(f.all, " AND "), order),
		append(f.args, limited(q.Limit, activities.DefaultLogs))...) //nolint:sqlclosecheck // collect closes it
	lines, err := collect(rows, err, func(row interface{ Scan(...any) error }) (line wflo.LogLine, err error) {
		var text string
		if err := row.Scan(&text); err != nil {
			return line, err
		}
		return line, json.Unmarshal([]byte(text), &line)
	})
	if err != nil {
		return nil, doing("read log lines", err)
	}
	if q.Latest {
		slices.Reverse(lines)
	}
	return lines, nil
}

// PurgeLogs implements activities.Logs.
func (l logs) PurgeLogs(ctx context.Context, before time.Time) (int, error) {
	for gone := 0; ; {
		var found int
		err := l.do(ctx, func(t *tx) (err error) {
			found, err = t.purgeLogs(before)
			return err
		})
		if err != nil {
			return gone, doing("purge log lines", err)
		}
		if gone += found; found < logPurgeRows {
			return gone, nil
		}
	}
}

func (t *tx) purgeLogs(before time.Time) (int, error) {
	runs, err := all(t, func(row interface{ Scan(...any) error }) (run string, err error) {
		return run, row.Scan(&run)
	}, "DELETE FROM logs WHERE rowid IN (SELECT rowid FROM logs WHERE at < ? ORDER BY at LIMIT ?) RETURNING run", micros(before), logPurgeRows)
	if err != nil {
		return 0, err
	}
	gone := map[string]int{}
	for _, run := range runs {
		gone[run]++
	}
	var errs []error
	for run, n := range gone {
		errs = append(errs, t.exec("UPDATE log_runs SET kept = kept - ?, full = 0 WHERE run = ?", n, run),
			t.exec("DELETE FROM log_runs WHERE run = ? AND kept <= 0", run))
	}
	return len(runs), errors.Join(errs...)
}

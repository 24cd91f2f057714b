package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

var _ activities.Logs = (*logs)(nil)

// logs are the lines of runs, in the same database and over the same connections as
// the ledger.
type logs struct{ recovery }

// Logs gives the log lines of runs in the same database. It is closed with the ledger.
func (l *Ledger) Logs() activities.Logs { return &logs{recovery{l: l, schema: l.records.sql.schema}} }

// logPurgeRows bounds one transaction of a purge.
const logPurgeRows = 5000

// once has work done in one transaction, and not again when that fails: lines whose
// commit was not answered would come twice.
func (l *logs) once(ctx context.Context, what string, work func(pgx.Tx) error) error {
	return doing(what, pgx.BeginTxFunc(ctx, l.l.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, uncommitted(work)))
}

// AppendLogs implements activities.Logs. The row of a run's count is locked from before
// its lines are numbered until they can be read, which is why readers miss none.
func (l *logs) AppendLogs(ctx context.Context, most int, lines ...wflo.LogLine) error {
	runs, byRun, err := activities.GroupLogs(lines)
	if err != nil || len(runs) == 0 {
		return err
	}
	keys := make([]string, 0, len(runs))
	for _, run := range runs {
		keys = append(keys, word(run))
	}
	return l.once(ctx, "append log lines", func(tx pgx.Tx) error {
		counts, err := l.lockCounts(ctx, tx, keys)
		if err != nil {
			return err
		}
		rows := &logRows{}
		for i, run := range runs {
			count := counts[keys[i]]
			if err := rows.add(keys[i], count.Admit(most, byRun[run])); err != nil {
				return err
			}
			rows.counted(keys[i], count)
		}
		return l.put(ctx, tx, rows)
	})
}

// logRows are columns of what is inserted.
type logRows struct {
	runs, steps []string
	seqs, ats   []int64
	levels      []int32
	lines       [][]byte
	// of the counts
	keys       []string
	last, kept []int64
	full       []bool
}

func (r *logRows) add(run string, lines []wflo.LogLine) error {
	for _, line := range lines {
		data, err := json.Marshal(line)
		if err != nil {
			return fmt.Errorf("encode log line: %w", err)
		}
		r.runs, r.steps, r.lines = append(r.runs, run), append(r.steps, word(line.Step)), append(r.lines, data)
		r.seqs, r.ats, r.levels = append(r.seqs, line.Seq), append(r.ats, line.At.UnixMicro()), append(r.levels, int32(line.Level)) //nolint:gosec // levels are small
	}
	return nil
}

func (r *logRows) counted(run string, c activities.LogCount) {
	r.keys, r.last, r.kept, r.full = append(r.keys, run), append(r.last, c.Last), append(r.kept, int64(c.Kept)), append(r.full, c.Full)
}

// lockCounts makes the rows of runs that have none, and locks all of them in order.
func (l *logs) lockCounts(ctx context.Context, tx pgx.Tx, keys []string) (map[string]activities.LogCount, error) {
	batch := &pgx.Batch{}
	batch.Queue(l.in(`INSERT INTO wflo.log_runs (run, last, kept, "full")
		SELECT run, 0, 0, false FROM unnest($1::text[]) AS run ORDER BY run COLLATE "C" ON CONFLICT (run) DO NOTHING`), keys)
	batch.Queue(l.in(`SELECT run, last, kept, "full" FROM wflo.log_runs WHERE run = ANY ($1) ORDER BY run FOR UPDATE`), keys)
	sent := tx.SendBatch(ctx, batch)
	if _, err := sent.Exec(); err != nil {
		return nil, closing(sent, err)
	}
	counts := map[string]activities.LogCount{}
	_, err := collectBatch(sent, func(row pgx.CollectableRow) (none struct{}, err error) {
		var run string
		var c activities.LogCount
		err = row.Scan(&run, &c.Last, &c.Kept, &c.Full)
		counts[run] = c
		return none, err
	})
	if err == nil && len(counts) < len(keys) {
		err = errors.New("a count was purged meanwhile") // between the two statements
	}
	return counts, closing(sent, err)
}

func (l *logs) put(ctx context.Context, tx pgx.Tx, r *logRows) error {
	batch := &pgx.Batch{}
	if len(r.lines) > 0 {
		batch.Queue(l.in(`INSERT INTO wflo.logs (run, seq, at, level, step, line)
			SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::integer[], $5::text[], $6::bytea[])`),
			r.runs, r.seqs, r.ats, r.levels, r.steps, r.lines)
	}
	batch.Queue(l.in(`UPDATE wflo.log_runs c SET last = t.last, kept = t.kept, "full" = t."full"
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[]) AS t(run, last, kept, "full") WHERE c.run = t.run`),
		r.keys, r.last, r.kept, r.full)
	return tx.SendBatch(ctx, batch).Close()
}

// ReadLogs implements activities.Logs.
func (l *logs) ReadLogs(ctx context.Context, q activities.LogQuery) ([]wflo.LogLine, error) {
	c := &conditions{}
	c.add("run = %s", word(q.RunKey()))
	c.add("seq > %v", q.After)
	c.add("level >= %v", int(q.Level))
	if q.Step != "" {
		c.add("(step = %s OR strpos('/' || step, '/' || %s || '#') > 0)", word(q.Step), word(q.Step))
	}
	if !q.Since.IsZero() {
		c.add("at >= %v", q.Since.UnixMicro())
	}
	order := "ASC"
	if q.Latest {
		order = "DESC"
	}
	limit := q.Limit
	if limit <= 0 {
		limit = activities.DefaultLogs
	}
	query := fmt.Sprintf("SELECT line FROM wflo.logs WHERE %s ORDER BY seq %s LIMIT %s", c, order, c.arg(limit))
	lines, err := rows(ctx, &l.recovery, "read log lines", func(row pgx.CollectableRow) (line wflo.LogLine, err error) {
		var data []byte
		if err := row.Scan(&data); err != nil {
			return line, err
		}
		return line, json.Unmarshal(data, &line)
	}, query, c.args...)
	if err != nil {
		return nil, err
	}
	if q.Latest {
		slices.Reverse(lines)
	}
	return lines, nil
}

// PurgeLogs implements activities.Logs. Several workers may purge at the same time, and
// take different lines.
func (l *logs) PurgeLogs(ctx context.Context, before time.Time) (int, error) {
	for gone := 0; ; {
		var found int
		err := l.once(ctx, "purge log lines", func(tx pgx.Tx) (err error) {
			found, err = l.purge(ctx, tx, before)
			return err
		})
		if err != nil {
			return gone, err
		}
		if gone += found; found < logPurgeRows {
			return gone, nil
		}
	}
}

func (l *logs) purge(ctx context.Context, tx pgx.Tx, before time.Time) (int, error) {
	runs, err := inside(ctx, &l.recovery, tx, pgx.RowTo[string], `DELETE FROM wflo.logs WHERE (run, seq) IN
		(SELECT run, seq FROM wflo.logs WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING run`, before.UnixMicro(), logPurgeRows)
	if err != nil || len(runs) == 0 {
		return 0, err
	}
	slices.Sort(runs)
	batch, total := &pgx.Batch{}, len(runs)
	for len(runs) > 0 {
		run := runs[0]
		n := 0
		for n < len(runs) && runs[n] == run {
			n++
		}
		runs = runs[n:]
		batch.Queue(l.in(`UPDATE wflo.log_runs SET kept = kept - $2, "full" = false WHERE run = $1`), run, n)
		batch.Queue(l.in(`DELETE FROM wflo.log_runs WHERE run = $1 AND kept <= 0`), run)
	}
	return total, tx.SendBatch(ctx, batch).Close()
}

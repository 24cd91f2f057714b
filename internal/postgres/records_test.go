package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// TestRecords gives each test a schema of one database, as TestLedger does, and
// opens it three times, as three workers do: callers of the same worker share
// transactions, and those of others meet them in the database.
func TestRecords(t *testing.T) {
	url := server.Database(t)
	schemas := 0
	storetest.TestRecords(t, func(t *testing.T) activities.Records {
		schemas++
		s := &sharedRecords{}
		for range 3 {
			s.all = append(s.all, mustOpen(t, Config{URL: url, MaxConns: 8, Schema: fmt.Sprint("records", schemas)}).Records())
		}
		s.Records = s.all[0]
		return s
	})
	noDeadlocks(t, url)
}

// sharedRecords are the records of several workers. What they could fight for goes
// to the next one in turn.
type sharedRecords struct {
	activities.Records
	all  []activities.Records
	turn atomic.Uint64
}

func (s *sharedRecords) next() activities.Records {
	return s.all[s.turn.Add(1)%uint64(len(s.all))]
}

func (s *sharedRecords) SaveGate(ctx context.Context, g wflo.Gate) error {
	return s.next().SaveGate(ctx, g)
}

func (s *sharedRecords) ListGates(ctx context.Context, q activities.GateQuery) ([]wflo.Gate, error) {
	return s.next().ListGates(ctx, q)
}

func (s *sharedRecords) UseGrant(ctx context.Context, nonce string, effect wflo.EffectKey) error {
	return s.next().UseGrant(ctx, nonce, effect)
}

func (s *sharedRecords) RevokeGrant(ctx context.Context, nonce, by string) (bool, error) {
	return s.next().RevokeGrant(ctx, nonce, by)
}

func (s *sharedRecords) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	return s.next().Append(ctx, events...)
}

func (s *sharedRecords) Enqueue(ctx context.Context, notices ...wflo.Notice) error {
	return s.next().Enqueue(ctx, notices...)
}

func (s *sharedRecords) ClaimNotices(ctx context.Context, n int, lease time.Duration) ([]wflo.NoticeRecord, error) {
	return s.next().ClaimNotices(ctx, n, lease)
}

func (s *sharedRecords) NoticeDelivered(ctx context.Context, id, receipt string) error {
	return s.next().NoticeDelivered(ctx, id, receipt)
}

func (s *sharedRecords) NoticeFailed(ctx context.Context, id, reason string, due time.Time) error {
	return s.next().NoticeFailed(ctx, id, reason, due)
}

// TestWordsKeepTheirDifferences: no two texts are stored as the same one, because
// a nonce or a name could be made to look like another's.
func TestWordsKeepTheirDifferences(t *testing.T) {
	seen := map[string]string{}
	for _, s := range []string{"", "\x00", `\0`, `\`, `\\`, "\\\x00", `\\0`, "a", "a\x00", `a\0`, "0", "Ü\u2028"} {
		w := word(s)
		if other, ok := seen[w]; ok {
			t.Errorf("%q and %q are both stored as %q", s, other, w)
		}
		seen[w] = s
		if got := unword(w); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	}
}

// TestWorkersClaimApart: the notices that one worker claims, and has not committed
// yet, are not waited for, and those behind them in a thread are not given out.
func TestWorkersClaimApart(t *testing.T) {
	l := mustOpen(t, Config{MaxConns: 4})
	r, ctx := l.Records(), t.Context()
	for _, n := range []wflo.Notice{
		{ID: "a1", Channel: "c", Thread: "a", Seq: 1}, {ID: "a2", Channel: "c", Thread: "a", Seq: 2}, {ID: "b1", Channel: "c", Thread: "b", Seq: 1},
	} {
		if err := r.Enqueue(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := l.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "SELECT wflo.claim_notices(1, '1 hour')"); err != nil {
		t.Fatal(err)
	}
	got, err := r.ClaimNotices(ctx, 10, time.Hour)
	if err != nil || len(got) != 1 || got[0].ID != "b1" {
		t.Errorf("claimed %+v, %v; want b1", got, err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	got, err = r.ClaimNotices(ctx, 10, time.Hour)
	if err != nil || len(got) != 1 || got[0].ID != "a1" || got[0].Attempts != 1 {
		t.Errorf("claimed %+v, %v; want a1, which the first worker gave up", got, err)
	}
}

// TestLeasesFollowTheDatabase: a worker whose clock is wrong holds a notice no
// longer than the others.
func TestLeasesFollowTheDatabase(t *testing.T) {
	l := mustOpen(t, Config{})
	r, ctx := l.Records(), t.Context()
	start := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	setClock(t, l, start)
	if err := r.Enqueue(ctx, wflo.Notice{ID: "a", Channel: "c", Thread: "a"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {time.Minute - time.Microsecond, 0}, {time.Minute, 1}} {
		setClock(t, l, start.Add(c.after))
		got, err := r.ClaimNotices(ctx, 1, time.Minute)
		if err != nil || len(got) != c.want {
			t.Errorf("after %s claimed %+v, %v; want %d", c.after, got, err, c.want)
		}
	}
}

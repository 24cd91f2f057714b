// Package invariant is the auditor who comes after the fire: it looks at what is left
// when wflo was killed, stopped and cut off, and says what is not as it must be. You make
// a [World], call [Check], and print the [Report].
//
// It believes nobody. It reads databases by SQL, the logs that stand-ins kept, the
// container engine by its labels, and Temporal's histories. It shares no code with what
// wrote them: it adds the money up, hashes the trail and seals the snapshots itself. It
// changes nothing.
//
// What it knows is twelve invariants, I1 to I12, of which [Names] has a sentence each. A
// report also says how many things each of them looked at: an invariant that has seen
// nothing has shown nothing.
package invariant

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/client"
)

// Names says what each invariant is.
var Names = map[string]string{
	"I1":  "every model call that was billed is in the ledger once, at its price, or flagged as unknown",
	"I2":  "accounts are the sum of their holds, limits hold, and nothing stays reserved",
	"I3":  "each gate has one final decision by somebody who may; nothing guarded happens before it",
	"I4":  "containers, volumes and networks are those of running steps; in the end there are none",
	"I5":  "each effect is kept, undone or a dead letter, as the other side sees it, undone in reverse order",
	"I6":  "the audit trail verifies from its first record to its head, and has what the stores say happened",
	"I7":  "each notice was taken at least once, in one wording, or is a dead letter with a reason",
	"I8":  "no run is stuck, and no history has a non-deterministic task",
	"I9":  "each snapshot has its seal, and each blob that it names is there and has its hash",
	"I10": "no secret is in database, histories or logs",
	"I11": "goroutines, descriptors, files and connections are back where they were",
	"I12": "every row belongs to the tenant of its run",
}

// World is what there is to look at. What is nil or empty is not looked at, and its
// invariants have seen nothing.
type World struct {
	// DB is a connection to wflo's database; Schema is where its tables are, "wflo" where
	// it is empty.
	DB     *pgx.Conn
	Schema string
	// Quiet says that every run has ended and the sweeps have been round: what is open or
	// under way is then a finding.
	Quiet bool
	// Invoices are what the vendors of models billed, and Rates what they take.
	Invoices []Invoice
	Rates    map[string]Rate // by model
	// Effects are what was done and undone at the other side, in order.
	Effects []Effect
	// Guarded are effects that nobody may make without an approval, by what they are.
	Guarded []string
	// Deliveries are what receivers of notices were sent, in order.
	Deliveries []Delivery
	// Owner is the label of containers, volumes and networks; Engine is where they are, the
	// environment's engine where it is empty.
	Owner, Engine string
	// Grace is how young a volume, and a container that does not run, may be and still be
	// there: whoever began to make it may be about to go on. Zero allows none.
	Grace time.Duration
	// Clocks is how far those of database, workers and stand-ins may be apart where their
	// times are compared; zero is as far as they are on one machine.
	Clocks time.Duration
	// Temporal reads histories of Namespace, of runs whose id has one of Runs in front.
	Temporal  client.Client
	Namespace string
	Runs      []string
	// Blob reads a blob of a snapshot by its key.
	Blob func(ctx context.Context, key string) ([]byte, error)
	// Secrets are canaries by name, and Said what programs and stand-ins wrote, by name.
	Secrets map[string]string
	Said    map[string]string
	// Counts are things that must be back where they were.
	Counts []Count
	// Orgs are the tenants of runs, by workflow id.
	Orgs map[string]string
}

// Invoice is one answer that a vendor billed. Tokens are in disjoint buckets.
type Invoice struct {
	Response, Model                     string
	Input, CacheRead, Output, Reasoning int64
	// Completed says that the whole answer was sent: its caller may have it.
	Completed bool
}

// Rate is a vendor's price of one token, in nano-dollars.
type Rate struct{ Input, CacheRead, Output int64 }

// Effect is one request at the other side that was carried out.
type Effect struct {
	// Key is the idempotency key, What was done, and Undo the compensation's id where it
	// was an undoing.
	Key, What, Undo string
	At              time.Time
}

// Delivery is one message that a receiver got.
type Delivery struct {
	// ID is the message's, by which receivers tell repetitions.
	ID, Body string
	Taken    bool // it answered that it has it
}

// Count is a number that goes up and must come down.
type Count struct {
	What         string
	Before, Now  int
	MayBeHigher  int // by so much
	MayBeBecause string
}

// Finding is one thing that is not as it must be.
type Finding struct {
	Invariant string // I1 to I12
	What      string
}

// Report is what was looked at and found.
type Report struct {
	// Seen is how many things each invariant has looked at.
	Seen     map[string]int
	Findings []Finding
}

// Check looks at everything. An error says that something could not be read, and then
// nothing is known.
func Check(ctx context.Context, w World) (*Report, error) {
	c := &check{World: w, Report: Report{Seen: map[string]int{}}}
	if c.Schema == "" {
		c.Schema = "wflo"
	}
	for _, part := range []struct {
		name string
		look func(context.Context) error
	}{
		{"I1", c.invoices}, {"I2", c.accounts}, {"I3", c.gates}, {"I4", c.engine}, {"I5", c.effects}, {"I6", c.trail},
		{"I7", c.notices}, {"I8", c.histories}, {"I9", c.snapshots}, {"I10", c.secrets}, {"I11", c.counts}, {"I12", c.tenants},
	} {
		c.now = part.name
		if err := part.look(ctx); err != nil {
			return nil, fmt.Errorf("look at %s: %w", part.name, err)
		}
	}
	return &c.Report, nil
}

type check struct {
	World
	Report
	now string
}

// saw counts things that were looked at.
func (c *check) saw(n int) { c.Seen[c.now] += n }

func (c *check) find(format string, args ...any) {
	c.Findings = append(c.Findings, Finding{c.now, fmt.Sprintf(format, args...)})
}

// String is the report as people read it: one line for each invariant, and its findings
// below.
func (r *Report) String() string {
	var b strings.Builder
	for i := range len(Names) {
		name := fmt.Sprintf("I%d", i+1)
		mine := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Invariant != name })
		verdict := "holds"
		switch {
		case len(mine) > 0:
			verdict = "BROKEN"
		case r.Seen[name] == 0:
			verdict = "nothing to see"
		}
		fmt.Fprintf(&b, "%-4s %-14s %6d seen  %s\n", name, verdict, r.Seen[name], Names[name])
		for _, f := range mine {
			fmt.Fprintf(&b, "       ! %s\n", f.What)
		}
	}
	return b.String()
}

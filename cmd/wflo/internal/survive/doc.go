// Package survive breaks wflo in every way that there is a name for, and then has an
// auditor go through what is left.
//
// A world is one installation of real parts: PostgreSQL, Redis, MinIO, Temporal and
// workers, each a process of its own that can be killed, Docker, and stand-ins for a
// vendor of models, a payment provider and a receiver of notices, which keep logs. Agents
// work in it: they ask models, run programs, wait for approvals, pay, undo what they paid,
// save themselves and go back. A driver breaks the worker at named points, kills and
// stops processes, and in the end package invariant says whether all twelve invariants
// hold.
//
// There is nothing to import. The tests are behind the build tag integration:
//
//	make test-integration                   a sound subset: every point, broken in one or two ways
//	make test-soak WFLO_SOAK_MINUTES=10     agents at work while processes are killed on a seeded schedule
//	make soak                               every point in every way, random seeds, and 2,000 agents
//
// docs/chaos.md says how to read what they report.
package survive

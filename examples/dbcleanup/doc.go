// Package dbcleanup lets a model propose which customers to delete from a
// production database, and people decide. The workflow has no word about approval:
// its worker has policies, which put two of senior-ops, and never the one for whom
// the run acts, in front of the one activity that deletes.
//
// [Cleanup] is the workflow, [Activities] read and delete with database/sql, and
// policies.yaml has the policies, with their tests in policies_test.yaml. Three
// things are worth copying:
//
//   - The activity takes exactly what people are shown: a list of IDs, and not a
//     condition that means other rows tomorrow.
//   - The policy is on the activity, so that no other workflow of the worker gets
//     around it.
//   - Reviewers may edit. What they take off the list stays, and votes on the longer
//     list are void.
//
// Try it on one machine. The worker makes a small SQLite database where there is
// none; WFLO_APPROVER_KEYS names who signs decisions, see `wflo keygen`:
//
//	go run ./examples/dbcleanup/worker
//	go run ./examples/dbcleanup/starter -user ana
//	wflo approvals
package dbcleanup

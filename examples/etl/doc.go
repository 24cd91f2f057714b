// Package etl is a nightly load that can be taken back. A model writes the program of
// the night, which runs in the sandbox over the orders of a day; what comes out goes to
// the table sales, people approve the figures, and a file with them is published.
//
// [Load] is the workflow, [Activities] touch the database and the published files. What
// is worth copying:
//
//   - The step that may go wrong has a Rollback: when the check fails, the rows are taken
//     out and the files are as they were before it, and the model is asked again.
//   - What is published can be withdrawn, by a compensation that is on record before the
//     file is there. It also runs when somebody terminates the run.
//   - Snapshots have names: [BeforeLoad] and [BeforePublish] are what operators go back to.
//   - Orders that come late take the run back from within: workflows.Restore in the path
//     of what did not work out.
//
// README.md has the commands.
package etl

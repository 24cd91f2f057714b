// Package workflows is the deterministic half of wflo: the verbs that an agent
// author calls inside a workflow, the workflows that wflo registers, and the
// workflow half of the interceptor that governs every activity.
//
// The verbs:
//
//   - [Ask] calls a language model, within the run's budget
//   - [RunSandboxed] runs untrusted code in the run's sandbox; [WithSandbox] sets
//     a workflow's defaults for it
//   - [RequireApproval] waits for a person's decision on exactly one action
//   - [Step] names a piece of work, memoises its result, and may ask for
//     approval and undo itself on failure
//   - [Compensate] registers how to undo an effect, before the effect
//   - [Agent] runs a tool-calling agent until it has an answer
//
// They work in any workflow of a worker that has the plugin (package plugin).
// An ordinary workflow.ExecuteActivity in such a worker is governed as well: it
// gets a stable effect key, the run's identity and budget, and is refused when
// the run is halted.
//
// Code in this package never reads a clock, a random source, a file or a
// socket, and imports neither policy nor pricing: verdicts and prices come from
// activities and are recorded in history. What the interceptor does is workflow
// code too: histories made with it replay only with it.
package workflows

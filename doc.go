// Package wflo holds the words that every other wflo package shares: money,
// budgets, prompts, approvals, runs, errors and the names used on the wire.
//
// The package depends on the standard library only and does no I/O, so a tool
// that sends approvals or reads spend can import it without importing Temporal,
// Docker or a database driver. The JSON form of these types is the contract
// between workflow code, activities, the command line and approval tools.
//
// Agent authors call the verbs in package workflows; a worker joins everything
// with package plugin. This package only says what they talk about:
//
//   - [Money], [Usage], [Price] and [Budget]: what a run may cost and did cost
//   - [Prompt], [Message], [Tool] and [Reply]: one call of a language model
//   - [Approval], [Gate] and [Decision]: a question to people and the answer
//   - [Run] and [EffectKey]: who an effect belongs to, stable across retries
//   - [Error] and the wire types: what went wrong and what to do about it
package wflo
